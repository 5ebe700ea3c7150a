"""Decisions: significant, in pairs, the same for every order of arrival, and never the last run."""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy.special import ndtr

from agent.errors import StudyError
from agent.search.example_scores import ExampleScores
from agent.search.paired_test import Peer, Rule, Standing, judge, quorum
from agent.search.significance import level_per_rival, p_value

EXAMPLES = 120


def scores(mean: float, seed: int = 0, noise: float = 0.3) -> ExampleScores:
    """Scores around a mean whose difficulty per example is shared by all runs."""
    hard = np.random.default_rng(99).normal(0.0, noise, EXAMPLES)
    own = np.random.default_rng(seed).normal(0.0, 0.05, EXAMPLES)
    values = mean + hard - hard.mean() + own - own.mean()
    return ExampleScores.of({f"e{i:03}": value for i, value in enumerate(values)})


def peer(point: str, means: list[float], standing: Standing = "running") -> Peer:
    number = sum(point.encode())
    return Peer(point, standing, {r: scores(m, number + r) for r, m in enumerate(means, 1)})


def spent(point: str, mean: float, standing: Standing = "running") -> Peer:
    """A run that has reached nearly all it will at its second rung."""
    return peer(point, [0.9 * mean, mean], standing)


def test_a_clearly_worse_run_is_pruned_with_rival_difference_and_certainty() -> None:
    verdict = judge("b", [spent("a", 0.8), spent("b", 0.3)], Rule(rungs=9), 8)
    assert verdict.prune
    assert verdict.rung == 2
    assert verdict.details["compared_with"] == "a"
    assert verdict.details["difference"] == pytest.approx(0.5, abs=1e-6)
    assert 0 < float(verdict.details["p_value"]) < 1e-6
    assert "0.5000 below a" in verdict.reason


def test_the_better_run_of_the_two_goes_on() -> None:
    verdict = judge("a", [spent("a", 0.8), spent("b", 0.3)], Rule(rungs=9), 8)
    assert not verdict.prune
    assert verdict.reason == "best of 2 at rung 2"


def test_a_difference_within_noise_prunes_no_run() -> None:
    peers = [spent("a", 0.502), spent("b", 0.5)]
    assert not judge("b", peers, Rule(rungs=9), 2).prune
    assert not judge("a", peers, Rule(rungs=9), 2).prune


def test_pairs_show_what_means_alone_would_hide() -> None:
    peers = [peer("a", [0.50, 0.53]), peer("b", [0.50, 0.50])]
    spread = float(peers[0].scores[1].values.std()) / EXAMPLES**0.5
    assert spread * 1.4 > 0.03 / 2  # unpaired: the difference is less than two standard errors
    assert judge("b", peers, Rule(rungs=9, warmup=2), 2).prune


@pytest.mark.parametrize(("warmup", "pruned_at"), [(0, 2), (1, 2), (2, 2), (3, 3), (4, 0)])
def test_the_warm_up_is_the_first_rung_at_which_a_run_is_judged(
    warmup: int, pruned_at: int
) -> None:
    peers = [peer("a", [0.8, 0.8, 0.8]), peer("b", [0.3, 0.3, 0.3])]
    verdict = judge("b", peers, Rule(rungs=9, warmup=warmup), 2)
    assert (verdict.prune, verdict.rung) == (pruned_at > 0, pruned_at)


def test_no_run_is_pruned_at_the_last_rung() -> None:
    peers = [peer("a", [0.8, 0.8]), peer("b", [0.5, 0.4])]
    assert not judge("b", peers, Rule(rungs=2), 2).prune
    assert judge("b", peers, Rule(rungs=3), 2).prune


@pytest.mark.parametrize(
    "late",
    [
        pytest.param([0.10], id="at its first rung"),
        pytest.param([0.10, 0.40], id="one rung behind"),
        pytest.param([0.10, 0.40, 0.69], id="nearly there"),
        pytest.param([0.01, 0.02, 0.05], id="before its rise"),
        pytest.param([0.01, 0.02, 0.05, 0.14, 0.31], id="in its rise"),
        pytest.param([0.0, 0.0, 0.0, 0.0], id="not begun"),
    ],
)
@pytest.mark.parametrize("make", [Rule, Rule.patient])
def test_a_run_that_gains_as_much_as_it_ever_did_is_left_alone(
    late: list[float], make: Callable[[int], Rule]
) -> None:
    rival = peer("a", [0.40, 0.65, 0.71, 0.72, 0.73])
    for rungs in range(1, len(late) + 1):
        assert not judge("b", [rival, peer("b", late[:rungs])], make(9), 8).prune


def test_a_run_that_has_not_begun_by_half_of_the_budget_is_judged() -> None:
    rival = peer("a", [0.40, 0.65, 0.71, 0.72, 0.73])
    for rungs, is_pruned in ((4, False), (5, True)):
        dead = Peer("b", "running", {r: _nothing() for r in range(1, rungs + 1)})
        assert judge("b", [rival, dead], Rule(9), 8).prune == is_pruned


def test_a_run_is_judged_by_what_it_may_still_become() -> None:
    leader = peer("a", [0.50, 0.60, 0.70])
    assert judge("b", [leader, peer("b", [0.30, 0.40, 0.42])], Rule(9), 2).prune
    late = judge("b", [leader, peer("b", [0.20, 0.40, 0.55])], Rule(9), 2)
    assert not late.prune
    # Gains of 0.20 and 0.15: three quarters of the last gain at the next point, and so on.
    gain = 0.15 * sum(0.75**k for k in range(1, 7))
    assert late.details["hoped_gain"] == pytest.approx(gain, abs=1e-6)
    assert f"{gain:.4f} may still be gained" in late.reason
    assert judge("b", [leader, peer("b", [0.20, 0.40, 0.55])], Rule(9, hope=0.1), 2).prune


def test_the_patient_rule_does_not_take_the_first_score_for_a_gain() -> None:
    warm = [peer("a", [0.60, 0.64, 0.70, 0.72]), peer("b", [0.50, 0.50, 0.50, 0.50])]
    assert judge("b", warm, Rule(9), 2).prune
    assert not judge("b", warm, Rule.patient(9), 2).prune
    spent = peer("b", [0.30, 0.45, 0.46, 0.46])
    assert judge("b", [warm[0], spent], Rule.patient(9), 2).prune


def test_the_bold_rule_stops_what_still_rises_and_judges_the_first_score() -> None:
    leader = peer("a", [0.42, 0.50, 0.58])
    rising = peer("b", [0.001, 0.003, 0.03])
    assert not judge("b", [leader, rising], Rule(6), 2).prune
    verdict = judge("b", [leader, rising], Rule.bold(6), 2)
    assert (verdict.prune, verdict.rung) == (True, 1)
    # A single gain may come four times more, less what the points left allow.
    for first, is_pruned in ((0.05, True), (0.20, False)):
        hopeful = judge("b", [leader, peer("b", [first])], Rule.bold(6), 2)
        gain = first * sum(0.8**k for k in range(1, 6))
        assert hopeful.details["hoped_gain"] == pytest.approx(gain, abs=1e-3)
        assert hopeful.prune == is_pruned


def test_the_bold_rule_needs_a_gain_to_judge_by() -> None:
    """A run whose first scores were on other examples shows none at its next point."""
    other = ExampleScores.of({f"other{i}": 0.1 for i in range(EXAMPLES)})
    late = Peer("b", "running", {1: other, 2: scores(0.1)})
    assert not judge("b", [peer("a", [0.5, 0.6]), late], Rule.bold(6), 2).prune


def test_a_loss_is_not_extrapolated() -> None:
    peers = [peer("a", [0.5, 0.502]), peer("b", [0.9, 0.5])]
    verdict = judge("b", peers, Rule(9, level=0.05), 2)
    assert not verdict.prune
    assert verdict.details["hoped_gain"] == 0.0


def test_what_the_better_run_may_gain_is_not_held_against_the_other() -> None:
    slow, fast = peer("b", [0.30, 0.55]), peer("a", [0.1, 0.60])
    assert not judge("b", [fast, slow], Rule(9, warmup=2), 2).prune


@pytest.mark.parametrize("rule", [Rule(200, 3), Rule.patient(200, 3)])
def test_looking_again_at_later_rungs_asks_for_more(rule: Rule) -> None:
    levels = [rule.level_at(rung) for rung in range(rule.first, 200)]
    assert levels[0] == rule.level
    assert levels == sorted(levels, reverse=True)
    assert min(1.0, sum(levels)) <= rule.bound


def test_the_patient_rule_is_bound_to_ten_percent() -> None:
    assert Rule.patient(9).bound == pytest.approx(0.10)
    assert Rule.patient(9, level=0.01).bound == pytest.approx(0.02)
    assert Rule(9).bound == 1.0


@pytest.mark.parametrize("rivals", [1, 3, 7, 31])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.8])
def test_the_level_holds_whatever_the_number_of_rivals(level: float, rivals: int) -> None:
    rng = np.random.default_rng(3)
    own, theirs = rng.normal(size=(20000, 1)), rng.normal(size=(20000, rivals))
    least = ndtr(-((theirs - own) / 2**0.5).max(axis=1))
    found = (least <= level_per_rival(level, rivals)).mean()
    assert found == pytest.approx(level, abs=0.012)


@pytest.mark.parametrize("standing", ["running", "pruned", "complete", "suspended"])
def test_everybody_who_has_been_at_the_rung_is_compared_with(standing: Standing) -> None:
    third = spent("c", 0.301, "running")  # as good, so that it may stay in the place of "b"
    verdict = judge("b", [spent("a", 0.8, standing), spent("b", 0.3), third], Rule(9), 3)
    assert verdict.prune
    assert verdict.details["compared_with"] == "a"


def test_the_last_run_in_the_race_is_kept() -> None:
    peers = [spent("a", 0.8, "pruned"), spent("b", 0.3)]
    verdict = judge("b", peers, Rule(rungs=9), 2)
    assert not verdict.prune
    assert "no other run of the stratum is in the race" in verdict.reason


@pytest.mark.parametrize("rule", [Rule(9), Rule.patient(9), Rule.bold(9)])
def test_a_run_is_kept_while_those_in_the_race_have_not_shown_that_they_are_as_good(
    rule: Rule,
) -> None:
    """The better run was stopped by then: what is left may end anywhere."""
    better = peer("a", [0.6, 0.7, 0.72, 0.73], "pruned")
    me = peer("b", [0.4, 0.45, 0.455, 0.456])
    assert judge("b", [Peer("a", "running", better.scores), me], rule, 3).prune
    for beginner in (peer("c", []), peer("c", [0.1])):
        assert not judge("b", [better, me, beginner], rule, 3).prune
    verdict = judge("b", [better, me, peer("c", [0.1, 0.1, 0.1, 0.1])], rule, 3)
    assert not verdict.prune
    assert "in the race that was as good" in verdict.reason
    assert judge("b", [better, me, peer("c", [0.5, 0.6, 0.65, 0.66])], rule, 3).prune


def test_a_run_waits_for_its_quorum_at_the_rung_and_no_longer() -> None:
    waiting = [spent("a", 0.8), spent("b", 0.3), peer("c", [])]
    assert quorum(2, waiting, 8) == (2, 3)
    assert not judge("b", waiting, Rule(rungs=9), 8).prune
    assert "2 of 3 points" in judge("b", waiting, Rule(rungs=9), 8).reason
    assert judge("b", [*waiting[:2], spent("c", 0.5)], Rule(rungs=9), 8).prune


def test_the_quorum_is_no_larger_than_the_points_left_and_counts_the_pruned() -> None:
    peers = [peer("a", [0.8], "complete"), peer("b", [0.3]), peer("c", [], "pruned")]
    assert quorum(1, peers, 3) == (3, 1)
    assert quorum(1, peers, None) == (3, 1)


def test_a_late_judgement_is_made_at_the_rung_it_was_missed_at() -> None:
    peers = [spent("a", 0.8), peer("b", [0.27, 0.3, 0.9, 0.95])]
    verdict = judge("b", peers, Rule(rungs=9), 2)
    assert (verdict.prune, verdict.rung) == (True, 2)


def test_other_examples_are_never_compared() -> None:
    other = ExampleScores.of({f"x{i}": 0.9 for i in range(EXAMPLES)})
    peers = [Peer("a", "running", {1: other, 2: other}), spent("b", 0.4)]
    assert not judge("b", peers, Rule(rungs=9), 2).prune


def test_the_verdicts_are_the_same_for_every_order_once_all_are_there() -> None:
    means: Mapping[str, list[float]] = {
        "a": [0.5, 0.6, 0.7],
        "b": [0.5, 0.55, 0.6],
        "c": [0.4, 0.6, 0.7],
        "d": [0.2, 0.5, 0.69],
        "e": [0.5, 0.59, 0.1],
    }
    peers = [peer(point, values) for point, values in means.items()]
    for point in means:
        verdicts = {
            (v.prune, v.rung, v.reason)
            for order in itertools.permutations(peers)
            for v in [judge(point, order, Rule(rungs=4), 5)]
        }
        assert len(verdicts) == 1


def test_more_runs_never_take_a_reason_to_stop_away() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        peers = [peer(f"p{i}", list(rng.uniform(0.3, 0.6, 2))) for i in range(5)]
        few = judge("p0", peers[:3], Rule(rungs=5), 5)
        many = judge("p0", peers, Rule(rungs=5), 5)
        assert not few.prune or many.prune


@pytest.mark.parametrize("runs", [2, 8])
def test_a_run_that_is_not_worse_is_stopped_as_seldom_as_the_patient_bound_says(runs: int) -> None:
    rng, rule, stopped, cases = np.random.default_rng(11), Rule.patient(9, level=0.1), 0, 150
    for _ in range(cases):
        base = rng.uniform(0, 1, EXAMPLES)
        peers = [
            Peer(f"p{i}", "running", {r: _noisy(base * min(r, 2) / 2, rng) for r in range(1, 9)})
            for i in range(runs)
        ]
        stopped += judge("p0", peers, rule, runs).prune
    assert rule.bound == pytest.approx(0.2)
    assert stopped <= cases * rule.bound


def _nothing() -> ExampleScores:
    return ExampleScores.of({f"e{i:03}": 0.0 for i in range(EXAMPLES)})


def _noisy(base: "np.typing.NDArray[np.float64]", rng: np.random.Generator) -> ExampleScores:
    values = base + rng.normal(0, 0.2, EXAMPLES)
    return ExampleScores.of({f"e{i:03}": value for i, value in enumerate(values)})


def test_few_examples_or_equal_gaps_promise_no_more_than_a_sign_flip_test_could() -> None:
    assert p_value(np.array([0.5])) == 1.0
    assert p_value(np.array([0.1, 0.1, 0.1])) == 0.125
    assert p_value(np.array([1.0, 1.0, 1.0, 1.001])) == 0.0625
    assert p_value(np.zeros(50)) == 1.0
    assert p_value(np.full(10, -0.2)) == 1.0
    assert p_value(np.array([0.1, -0.1, 0.3, 0.2] * 20)) < 0.001


def test_scores_survive_their_text_form() -> None:
    given = ExampleScores.of({"b": 0.25, "a": 1.0, "c": 1 / 3})
    back = ExampleScores.decode(given.encode())
    assert back.examples == given.examples
    assert back.values == pytest.approx([1.0, 0.25, 1 / 3], abs=1e-7)
    assert len(scores(0.5).encode()) < 1000


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    with pytest.raises(StudyError, match="no example scores"):
        ExampleScores.of({})
    with pytest.raises(StudyError, match="'b' is nan"):
        ExampleScores.of({"a": 1.0, "b": float("nan")})
    with pytest.raises(StudyError, match="cannot be read"):
        ExampleScores.decode("abc:!!")
