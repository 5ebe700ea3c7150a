"""What a sweep tries next: order, distributions, learning from past runs."""

import math
import statistics
from typing import Any

import pytest

from agent.config.search_space import (
    Choice,
    Range,
    Space,
    grid_order,
    grid_point,
    grid_points,
    grid_size,
)
from agent.config.values import value_key
from agent.search.coordinates import listed_values
from agent.search.proposals import PastRun, bayes_point, imputed, random_point
from tests.processes import run_python


def test_a_grid_runs_through_the_learning_rate_fastest_and_is_the_same_every_time() -> None:
    space: dict[str, Range | Choice] = {
        "z": Choice(("a", "b")),
        "optimizer.learning_rate": Choice((0.1, 0.2)),
        "bits": Range("int_uniform", 4, 5),
    }
    assert grid_order(space) == ["bits", "z", "optimizer.learning_rate"]
    shuffled = {name: space[name] for name in ("bits", "optimizer.learning_rate", "z")}
    points = list(grid_points(space))
    assert points == list(grid_points(shuffled))
    assert [tuple(point.values()) for point in points] == [
        (bits, z, rate) for bits in (4, 5) for z in "ab" for rate in (0.1, 0.2)
    ]


def test_a_huge_grid_is_addressed_without_being_built() -> None:
    space = {f"p{i}": Choice(tuple(range(10))) for i in range(12)}
    assert grid_size(space) == 10**12
    assert list(grid_point(space, 123).values())[-3:] == [1, 2, 3]
    with pytest.raises(IndexError, match="grid point"):
        grid_point(space, 10**12)


def test_quantised_ranges_are_enumerated_by_a_grid() -> None:
    points = list(grid_points({"x": Range("q_uniform", 0.0, 1.0, 0.25)}))
    assert [point["x"] for point in points] == [0.0, 0.25, 0.5, 0.75, 1.0]


def drawn(parameter: Range | Choice, count: int = 300) -> list[Any]:
    return [random_point({"x": parameter}, seed)["x"] for seed in range(count)]


@pytest.mark.parametrize(
    ("parameter", "low", "high"),
    [
        (Range("uniform", 2.0, 3.0), 2.0, 3.0),
        (Range("int_uniform", 1, 4), 1, 4),
        (Range("q_uniform", 0.0, 10.0, 2.0), 0, 10),
        (Range("log_uniform", math.log(1e-4), math.log(1e-2)), 1e-4, 1e-2),
        (Range("log_uniform_values", 1e-4, 1e-2), 1e-4, 1e-2),
        (Range("q_log_uniform_values", 8, 512, 8), 8, 512),
        (Range("inv_log_uniform_values", 1e-4, 1e-2), 1e-4, 1e-2),
        (Range("inv_log_uniform", 0.0, 3.0), math.exp(-3), 1.0),
        (Range("q_log_uniform", 0.0, 3.0, 1.0), 1, 20),
        (Range("beta", 2.0, 5.0), 0.0, 1.0),
        (Range("q_beta", 2.0, 5.0, 0.1), 0.0, 1.0),
    ],
)
def test_bounded_distributions_stay_within_and_reach_across_their_range(
    parameter: Range, low: float, high: float
) -> None:
    values = drawn(parameter)
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in values)
    assert len(set(values)) > 3
    if parameter.distribution == "int_uniform":
        assert set(values) == {1, 2, 3, 4}
        assert all(isinstance(value, int) for value in values)


def test_unbounded_distributions_have_their_mean() -> None:
    normal = drawn(Range("normal", 5.0, 2.0))
    assert statistics.mean(normal) == pytest.approx(5.0, abs=0.4)
    assert statistics.stdev(normal) == pytest.approx(2.0, abs=0.3)
    logs = [math.log(value) for value in drawn(Range("log_normal", 1.0, 0.5))]
    assert statistics.mean(logs) == pytest.approx(1.0, abs=0.15)
    assert all(value % 1 == 0 for value in drawn(Range("q_normal", 0.0, 3.0, 1.0)))
    assert all(value > 0 for value in drawn(Range("q_log_normal", 2.0, 0.3, 1.0)))


def test_a_log_range_spends_as_many_draws_on_each_decade() -> None:
    low = sum(value < 1e-3 for value in drawn(Range("log_uniform_values", 1e-4, 1e-2)))
    assert 110 < low < 190


def test_weighted_choices_follow_their_probabilities() -> None:
    values = drawn(Choice(("rare", "often"), (0.1, 0.9)))
    assert 5 < values.count("rare") < 60


def test_the_same_seed_gives_the_same_point_and_others_differ() -> None:
    space: Space = {"x": Range("uniform", 0.0, 1.0), "y": Choice((1, [2], None))}
    assert random_point(space, 3) == random_point(space, 3)
    assert len({random_point(space, seed)["x"] for seed in range(20)}) == 20


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_bayes_learns_where_the_good_points_are(goal: Any) -> None:
    space = {"x": Range("uniform", 0.0, 1.0), "n": Range("normal", 0.0, 1.0)}
    sign = 1.0 if goal == "minimize" else -1.0
    past: list[PastRun] = []
    for number in range(45):
        point = bayes_point(space, past, goal, seed=number)
        score = sign * ((point["x"] - 0.7) ** 2 + 0.1 * (point["n"] - 1) ** 2)
        past.append(PastRun(point, score, "finished"))
    late = [abs(run.point["x"] - 0.7) for run in past[-15:]]
    assert statistics.mean(late) < 0.2


def test_bayes_takes_running_failed_and_foreign_runs_as_they_are() -> None:
    space: dict[str, Range | Choice] = {
        "x": Range("log_uniform_values", 1e-5, 1e-1),
        "inverse": Range("inv_log_uniform_values", 0.1, 1.0),
        "kind": Choice(("a", "b"), (0.5, 0.5)),
    }
    good = {"x": 1e-3, "inverse": 0.5, "kind": "b"}
    past = [
        PastRun(good, None, "running"),
        PastRun(good, float("nan"), "finished"),
        PastRun(good, None, "failed"),
        PastRun({**good, "x": 7.0}, 1.0, "finished"),
        PastRun({"x": 1e-3}, 1.0, "finished"),
        PastRun({**good, "x": "text"}, 1.0, "finished"),
        *[PastRun(good, 0.5, "finished") for _ in range(12)],
    ]
    point = bayes_point(space, past, "minimize", seed=1)
    assert 1e-5 <= point["x"] <= 1e-1
    assert 0.1 <= point["inverse"] <= 1.0
    assert point["kind"] in ("a", "b")


def test_proposals_need_no_torch() -> None:
    code = (
        "import sys, agent.search.proposals as p\n"
        "from agent.config.search_space import Range\n"
        "p.bayes_point({'x': Range('normal', 0, 1)}, [], 'minimize', 1)\n"
        "sys.exit('torch' in sys.modules)"
    )
    run_python("-c", code)


FINITE: dict[str, Range | Choice] = {
    "kind": Choice(([1, 2], {"a": 1}, None, True, 1)),
    "layers": Range("int_uniform", 1, 3),
    "q": Range("q_log_uniform_values", 1, 6, 2.0),
}


@pytest.mark.parametrize("state", ["finished", "failed", "running"])
def test_bayes_repeats_nothing_of_a_finite_space_while_something_new_is_left(state: Any) -> None:
    past: list[PastRun] = []
    size = 5 * 3 * 4
    for number in range(size):
        point = bayes_point(FINITE, past, "minimize", seed=number)
        # The other forms of the same numbers are the same point.
        layers = float(point["layers"])
        past.append(PastRun({**point, "layers": layers}, float(number), state))
    assert len({value_key(dict(run.point)) for run in past}) == size
    assert value_key(bayes_point(FINITE, past, "minimize", seed=1)) in {
        value_key(dict(run.point)) for run in past
    }


@pytest.mark.parametrize(
    "parameter",
    [
        Range("q_uniform", 1.0, 10.0, 4.0),
        Range("q_uniform", 0.0, 1.0, 0.25),
        Range("q_log_uniform_values", 8, 512, 8),
        Range("q_log_uniform", 0.0, 3.0, 1.0),
        Range("q_beta", 2.0, 5.0, 0.1),
        Range("int_uniform", -2, 4),
    ],
)
def test_the_listed_values_of_a_quantised_range_are_all_that_is_drawn(parameter: Range) -> None:
    listed = listed_values(parameter)
    assert listed is not None
    assert set(drawn(parameter, 500)) <= set(listed)


def test_a_space_without_end_has_no_list_and_is_proposed_from_all_the_same() -> None:
    space: Space = {"x": Range("q_normal", 0.0, 0.1, 1.0)}
    past = [PastRun({"x": 0}, 1.0, "finished")]
    assert bayes_point(space, past, "minimize", seed=1) is not None
    assert listed_values(Range("int_uniform", 0, 10**9)) is None


def test_failed_runs_get_the_value_that_impute_says() -> None:
    runs = [
        PastRun({}, 1.0, "finished", 2.0),
        PastRun({}, 5.0, "finished", 5.0),
        PastRun({}, 0.5, "failed", 0.7),
        PastRun({}, None, "failed"),
        PastRun({}, 3.0, "running", 4.0),
        PastRun({}, None, "running"),
    ]

    def values(impute: Any, running: Any = None, goal: Any = "minimize") -> list[Any]:
        found = imputed(runs, goal, impute, running)
        assert [run.state for run in found[:4]] == ["finished"] * 4
        return [run.value if run.state == "finished" else run.state for run in found]

    assert values("worst") == [1.0, 5.0, 5.0, 5.0, "running", "running"]
    assert values("worst", goal="maximize") == [1.0, 5.0, 0.5, 0.5, "running", "running"]
    assert values("best") == [1.0, 5.0, 0.5, 5.0, "running", "running"]
    assert values("latest") == [1.0, 5.0, 0.7, 5.0, "running", "running"]
    assert values("worst", "latest") == [1.0, 5.0, 5.0, 5.0, 4.0, "running"]
    assert values("worst", "best") == [1.0, 5.0, 5.0, 5.0, 3.0, "running"]
    assert values("worst", "worst") == [1.0, 5.0, 5.0, 5.0, 5.0, 5.0]


def test_without_any_value_a_failed_run_has_none() -> None:
    (run,) = imputed([PastRun({}, None, "failed")], "minimize", "best", None)
    assert (run.state, run.value) == ("failed", None)
