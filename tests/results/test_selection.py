from typing import Any

import pytest

from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.errors import ReportError
from agent.results.comparable import Family, families_of
from agent.results.confirmation import missing_seeds, sweeps_of
from agent.results.run_table import Row
from agent.results.selection import Points, Selection, select
from tests.results.known_table import known_rows, pruned, run


def _only(rows: tuple[Row, ...] | list[Row], points: Points = "final") -> Selection:
    (family,) = families_of(rows)
    (found,) = select(family, points)
    return found


def _known() -> tuple[Family, dict[str, Selection]]:
    (family,) = families_of(known_rows())
    return family, {selection.label: selection for selection in select(family)}


def test_the_best_learning_rate_of_every_cell_of_the_known_table() -> None:
    _, found = _known()
    chosen = {label: s.chosen.tuned[0][1] for label, s in found.items() if s.chosen}
    assert chosen == {
        "Full LoRA": 5e-3,
        "QLoRA int4": 5e-3,
        "QLoRA int8": 5e-3,
        "LoRA+PTQ int8": 5e-3,
        "LoRA+PTQ int4": 2e-2,
    }


def test_a_winner_at_the_edge_of_the_grid_is_named() -> None:
    _, found = _known()
    assert found["LoRA+PTQ int4"].edges == (
        "learning_rate = 0.02 is the highest of 4 values: try higher ones",
    )
    assert found["QLoRA int4"].edges == ()


def test_a_pruned_neighbour_still_shows_that_the_edge_was_tried() -> None:
    _, found = _known()
    assert found["Full LoRA"].edges == ()


def test_the_only_value_tried_is_said_to_be_the_only_one() -> None:
    assert _only([run("full", 1e-3, 0.5)]).edges == (
        "learning_rate = 0.001 is the only value tried",
    )


def test_the_mean_over_seeds_decides_not_the_luckiest_seed() -> None:
    rows = [run("full", 1e-3, f, seed=s) for s, f in enumerate((0.9, 0.3, 0.3))]
    rows += [run("full", 1e-4, f, seed=s) for s, f in enumerate((0.6, 0.6, 0.6))]
    chosen = _only(rows).chosen
    assert chosen is not None
    assert chosen.tuned == (("learning_rate", 1e-4),)
    assert chosen.mean == pytest.approx(0.6)
    assert chosen.spread == pytest.approx(0.0)


def test_a_seed_that_ran_twice_counts_once() -> None:
    rows = [run("full", 1e-3, 0.9, run_id="a"), run("full", 1e-3, 0.7, run_id="b")]
    rows += [run("full", 1e-3, 0.2, seed=1)]
    chosen = _only(rows).chosen
    assert chosen is not None
    assert dict(chosen.by_seed) == pytest.approx({0: 0.8, 1: 0.2})
    assert chosen.mean == pytest.approx(0.5)


def test_a_pruned_run_is_never_chosen() -> None:
    last: dict[str, Any] = {
        "final__validation_f1_score": 0.9
    }  # a pruned run writes its last score there too
    rows = [run("full", 1e-3, 0.5), pruned("full", 1e-4, ((1.0, 0.9),), **last)]
    chosen = _only(rows, "all").chosen
    assert chosen is not None
    assert chosen.tuned == (("learning_rate", 1e-3),)


def test_a_cell_without_a_complete_run_says_so() -> None:
    found = _only([pruned("full", 1e-3, ((1.0, 0.1),)), run("full", 1e-4, None, state="failed")])
    assert found.chosen is None
    assert found.notes == ("no complete run with a score (states: failed, pruned)",)


def test_an_earlier_evaluation_point_is_chosen_where_it_is_better() -> None:
    rows = [run("full", 1e-3, 0.5, curve=((1.0, 0.4), (2.0, 0.7), (3.0, 0.5)))]
    chosen = _only(rows, "all").chosen
    assert chosen is not None
    assert (chosen.epoch, chosen.mean, chosen.is_final) == (2.0, 0.7, False)
    final = _only(rows).chosen
    assert final is not None
    assert final.epoch == 3.0


def test_a_point_that_one_seed_never_reported_is_no_candidate() -> None:
    rows = [
        run("full", 1e-3, 0.5, curve=((2.0, 0.9), (3.0, 0.5))),
        run("full", 1e-3, 0.5, seed=1, curve=((1.0, 0.1), (3.0, 0.5))),
    ]
    chosen = _only(rows, "all").chosen
    assert chosen is not None
    assert chosen.epoch == 3.0


def _scored(rate: float, gain: float, seed: int = 0) -> Row:
    scores = {str(i): min(1.0, (i % 10) / 10 + (gain if i % 2 else 0)) for i in range(100)}
    return run("full", rate, sum(scores.values()) / 100, scores=scores, seed=seed)


def test_ties_come_from_seeds_and_examples_where_both_have_them() -> None:
    found = _only([_scored(r, g, s) for r, g in ((1e-3, 0.1), (1e-4, 0.0)) for s in range(3)])
    assert found.ties == ()
    assert found.differences[0][1].method == "seeds and examples"
    scattered = {str(i): float(i % 2) for i in range(100)}
    other = {str(i): float((i + 1) % 2) for i in range(98)} | {"98": 0.0, "99": 0.0}
    found = _only([run("full", 1e-3, 0.5, scores=scattered), run("full", 1e-4, 0.49, scores=other)])
    ((candidate, difference),) = found.ties
    assert candidate.tuned == (("learning_rate", 1e-4),)
    assert difference.method == "paired examples"


def test_scores_of_the_last_point_say_nothing_about_an_earlier_one() -> None:
    scores = {str(i): float(i % 2) for i in range(100)}
    curve = ((2.0, 0.9), (3.0, 0.5))
    rows = [run("full", 1e-3, 0.5, scores=scores, curve=curve)]
    rows += [run("full", 1e-4, 0.5, scores=scores, curve=((3.0, 0.5),))]
    assert _only(rows, "final").ties != ()
    found = _only(rows, "all")
    assert found.chosen is not None
    assert found.chosen.epoch == 2.0
    assert found.ties == ()  # 0.9 against 0.5 over 100 examples, by the bound


def test_three_shared_seeds_give_a_paired_interval() -> None:
    rows = [run("full", 1e-3, 0.6 + s / 10, seed=s) for s in range(3)]
    rows += [run("full", 1e-4, 0.55 + s / 10 + (s % 2) / 1000, seed=s) for s in range(3)]
    assert _only(rows).ties == ()
    rows[3] = run("full", 1e-4, 0.75, seed=0)
    ((_, difference),) = _only(rows).ties
    assert difference.method == "paired seeds"


def test_the_number_of_examples_bounds_the_noise() -> None:
    rows = [run("full", 1e-3, 0.80, eval_examples=200), run("full", 1e-4, 0.78, eval_examples=200)]
    ((_, difference),) = _only(rows).ties
    assert difference.method == "bound"
    # 1.96 * sqrt((0.16 + 0.1716) / 200 + 2 * 0.04**2) = 0.1366
    assert difference.high == pytest.approx(0.02 + 0.1366, abs=1e-4)


def test_two_seeds_of_one_setting_are_no_evidence_that_rates_differ() -> None:
    """The demo's Full LoRA gave 0.663 with seed 0 and 0.606 with seed 1."""
    scores = {str(i): float(i < 663) for i in range(1000)}
    other = {str(i): float(i < 606) for i in range(1000)}
    rows = [run("full", 1e-3, 0.663, scores=scores), run("full", 1e-4, 0.606, scores=other)]
    assert len(_only(rows).ties) == 1
    far = {str(i): float(i < 126) for i in range(1000)}
    assert _only([rows[0], run("full", 1e-4, 0.126, scores=far)]).ties == ()


def test_seed_noise_seen_in_one_setting_is_used_for_the_others() -> None:
    rows = [run("full", 1e-3, f, seed=s) for s, f in enumerate((0.6, 0.6, 0.6, 0.6, 0.6))]
    calm = _only(rows).seed_noise
    assert (calm.settings, calm.freedom) == (1, 4)
    assert calm.sd == pytest.approx((3 * 0.04**2 / 7) ** 0.5)
    wild = _only([run("full", 1e-3, f, seed=s) for s, f in enumerate((0.3, 0.9))]).seed_noise
    assert wild.sd == pytest.approx(((0.18 + 3 * 0.04**2) / 4) ** 0.5)
    assert "of 1 settings" in str(wild)
    assert "none measured" in str(_only(rows[:1]).seed_noise)


def test_with_nothing_known_the_noise_is_called_unknown() -> None:
    found = _only([run("full", 1e-3, 0.80), run("full", 1e-4, 0.79)])
    assert found.ties == ()
    assert "the noise is unknown" in found.notes[0]


def test_equal_scores_are_a_tie_and_the_smaller_rate_is_taken() -> None:
    found = _only([run("full", 1e-3, 0.8), run("full", 1e-4, 0.8)])
    assert found.chosen is not None
    assert found.chosen.tuned == (("learning_rate", 1e-4),)
    assert len(found.ties) == 1


def test_unequal_numbers_of_seeds_are_named() -> None:
    rows = [run("full", 1e-3, 0.8), run("full", 1e-3, 0.8, seed=1), run("full", 1e-4, 0.5)]
    assert _only(rows).notes[0] == "settings rest on 1 to 2 seeds, the chosen one on 2"


def test_the_plan_names_only_the_missing_seeds_of_the_winner_and_its_ties() -> None:
    rows = [run("full", 1e-3, 0.8, seed=1), run("full", 1e-4, 0.8), run("full", 1e-2, 0.1)]
    (family,) = families_of(rows)
    plan = missing_seeds(family, select(family), 3)
    found = sorted((p.config["learning_rate"], p.config["seed"]) for p in plan)
    assert found == [(1e-4, 1), (1e-4, 2), (1e-3, 0), (1e-3, 2)]
    for point in plan:
        assert point.config["pruner"] == "none"
        assert RunConfig.parse(point.config).dataset == "train.json"


def test_running_seeds_count_and_failed_or_pruned_ones_are_planned_again() -> None:
    rows = [
        run("full", 1e-3, 0.8),
        run("full", 1e-3, None, seed=1, state="running"),
        run("full", 1e-3, None, seed=2, state="failed"),
        pruned("full", 1e-3, ((1.0, 0.1),), seed=3),
    ]
    (family,) = families_of(rows)
    assert [p.config["seed"] for p in missing_seeds(family, select(family), 4)] == [2, 3]


def test_enough_seeds_need_no_plan() -> None:
    rows = [run("full", 1e-3, 0.8, seed=s) for s in (4, 7)]
    (family,) = families_of(rows)
    assert missing_seeds(family, select(family), 2) == ()
    with pytest.raises(ReportError, match="--confirm-seeds 0: must be at least 1"):
        missing_seeds(family, select(family), 0)


def test_the_missing_seeds_of_a_setting_are_one_grid_over_the_seed_alone() -> None:
    more: dict[str, Any] = {"store": "/shared/store", "tuned": "learning_rate", "device": "cpu"}
    rows = [run("qlora4", 1e-3, 0.8, **more), run("qlora4", 1e-4, 0.1, **more)]
    (family,) = families_of(rows)
    (sweep,) = sweeps_of(missing_seeds(family, select(family), 3))
    assert sweep.name == "seeds of QLoRA int4 lr=0.001"
    points = sweep_yaml.configs(sweep.config)
    assert [point.seed for point in points] == [1, 2]
    for point in points:
        assert (point.learning_rate, point.pruner, point.store) == (1e-3, "none", "/shared/store")
        assert point.tuned == ("learning_rate",)
    assert sweep.like.run_id == "qlora4-0.001-0"


def test_tied_settings_become_sweeps_of_their_own() -> None:
    rows = [run("full", 1e-3, 0.8), run("full", 1e-4, 0.8), run("full", 1e-2, 0.1)]
    (family,) = families_of(rows)
    sweeps = sweeps_of(missing_seeds(family, select(family), 2))
    assert [sweep.name for sweep in sweeps] == [
        "seeds of Full LoRA lr=0.0001",
        "seeds of Full LoRA lr=0.001",
    ]


def test_a_choice_is_tested_when_every_seed_was_at_the_chosen_point() -> None:
    curve = ((1.0, 0.9), (3.0, 0.5))
    rows = [run("full", 1e-3, 0.5, seed=s, curve=curve, test__f1_score=0.4 + s) for s in (0, 1)]
    at_end, anywhere = _only(rows).chosen, _only(rows, "all").chosen
    assert at_end is not None
    assert anywhere is not None
    assert str(at_end.test) == "0.900 ± 0.707"
    assert anywhere.test is None  # scored at the last point, chosen at the first
    early = [run("full", 1e-3, 0.5, curve=curve, test__f1_score=0.4, test__epoch=1.0)]
    at_end, anywhere = _only(early).chosen, _only(early, "all").chosen
    assert at_end is not None
    assert anywhere is not None
    assert at_end.test is None
    assert str(anywhere.test) == "0.400"
    untested = [*rows, run("full", 1e-3, 0.5, seed=2, curve=curve)]
    chosen = _only(untested).chosen
    assert chosen is not None
    assert chosen.test is None


@pytest.mark.parametrize("written", [4 / 7, float(f"{4 / 7:g}"), float(f"{4 / 7:.12g}")])
def test_a_test_score_counts_at_a_point_whose_epoch_was_written_in_fewer_digits(
    written: float,
) -> None:
    curve = ((4 / 7, 0.9), (1.0, 0.5))
    rows = [run("full", 1e-3, 0.5, curve=curve, test__f1_score=0.4, test__epoch=written)]
    chosen = _only(rows, "all").chosen
    assert chosen is not None
    assert str(chosen.test) == "0.400"
