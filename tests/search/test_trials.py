"""Trials: one study per stratum, pruned in lock-step, resumed as they were, freed when killed."""

import itertools
import math
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from agent.errors import StudyError
from agent.search import paired_pruner
from agent.search.storages import open_storage
from agent.search.trials import Outrun, open_trial, time_between_looks_s
from tests.search.trial_lab import config, examples, opened, report_twice, trials_in


def test_a_run_that_reports_every_rung_is_complete_with_its_values(journal: Path) -> None:
    with opened(journal, "r1", 1e-3) as trial:
        for rung, mean in enumerate((0.3, 0.4, 0.5), 1):
            assert not trial.report(rung, examples(mean)).prune
    (found,) = trials_in(journal)
    assert found.state == TrialState.COMPLETE
    assert found.params == {"learning_rate": 1e-3}
    assert list(found.intermediate_values) == [1, 2, 3]
    assert found.value == pytest.approx(np.mean(list(examples(0.5).values())), abs=1e-6)


def test_two_agents_in_turn_over_three_points_prune_the_hopeless_ones(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as first, opened(journal, "b", 1e-2) as second:
        assert not report_twice(first, 0.8).prune
        verdict = report_twice(second, 0.3)
        assert verdict.prune
        assert verdict.details["compared_with"] == "learning_rate=0.001"
        first.report(3, examples(0.8))
    with opened(journal, "c", 1e-4) as late:
        assert late.report(1, examples(0.5)).reason == "not judged before rung 2"
        assert late.report(2, examples(0.52)).prune  # at once, against what is on record
    states = {t.system_attrs[paired_pruner.RUN]: t.state for t in trials_in(journal)}
    assert states == {"a": TrialState.COMPLETE, "b": TrialState.PRUNED, "c": TrialState.PRUNED}


def test_eight_runs_in_lock_step_prune_and_the_first_ones_may_ask_again(journal: Path) -> None:
    means = [0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.9]
    with ExitStack() as stack:
        trials = [
            stack.enter_context(opened(journal, f"r{i}", 1e-3 / (i + 1), peers=8)) for i in range(8)
        ]
        at_once = [report_twice(t, m).prune for t, m in zip(trials, means, strict=True)]
        asked_again = [t.reconsider().prune for t in trials]
    assert at_once == [False] * 8  # the quorum was only there with the last one, the best
    assert asked_again == [True] * 7 + [False]


def test_asking_again_between_steps_is_rate_limited(journal: Path) -> None:
    with opened(journal, "a", 1e-4) as best, opened(journal, "b", 1e-3) as bad:
        assert not bad.reconsider().prune  # nothing was reported yet
        assert "waits for its quorum" in report_twice(bad, 0.3).reason
        report_twice(best, 0.8)
        assert not bad.reconsider(at_most_every_s=3600).prune
        assert bad.reconsider(at_most_every_s=0).prune
        best.suspend()


def test_a_run_looks_more_often_the_shorter_its_points_within_bounds(tmp_path: Path) -> None:
    journal = open_storage(None, tmp_path / "j.log")
    looks = {s: time_between_looks_s(s, journal) for s in (0.01, 10, 60, 3600, math.inf)}
    assert looks == {0.01: 0.2, 10: 0.5, 60: 3.0, 3600: 5.0, math.inf: 5.0}
    server = optuna.storages.InMemoryStorage()  # no file: as a database or a proxy
    assert time_between_looks_s(10, server) == 5.0


def test_a_run_stops_between_two_points_as_soon_as_the_others_have_been_there(
    journal: Path,
) -> None:
    with opened(journal, "a", 1e-4) as best, opened(journal, "b", 1e-3) as bad:
        report_twice(bad, 0.3)
        bad.stop_if_outrun()
        best.report(1, examples(0.8))
        bad.stop_if_outrun()
        best.report(2, examples(0.8))
        time.sleep(time_between_looks_s(bad._point_s, bad._storage))  # the steps of its next point
        with pytest.raises(Outrun, match=r"below learning_rate=0\.0001"):
            bad.stop_if_outrun()
        assert bad.reported_rungs == (1, 2)
        best.suspend()
    assert {t.state for t in trials_in(journal)} == {TrialState.PRUNED, TrialState.WAITING}


def test_order_of_arrival_does_not_change_who_is_pruned(tmp_path: Path) -> None:
    means = {2e-2: 0.3, 1e-2: 0.31, 1e-3: 0.8, 1e-4: 0.799}
    outcomes = set()
    for number, order in enumerate(list(itertools.permutations(means))[::3]):
        journal = tmp_path / f"{number}.journal"
        with ExitStack() as stack:
            trials = {
                rate: stack.enter_context(opened(journal, f"r{rate}", rate, peers=4))
                for rate in order
            }
            for rate in order:
                report_twice(trials[rate], means[rate])
            verdicts = {rate: trials[rate].reconsider() for rate in sorted(means)}
        outcomes.add(tuple((v.prune, v.rung, v.reason) for v in verdicts.values()))
    (outcome,) = outcomes
    assert [prune for prune, _, _ in outcome][2:] == [True, True]
    assert not outcome[1][0]


def test_runs_of_another_stratum_are_never_compared(journal: Path) -> None:
    with (
        opened(journal, "a", 1e-3) as best,
        opened(journal, "b", 1e-3, seed=1) as other_seed,
        opened(
            journal, "c", 1e-2, model_variant="QLoRA", quantization_strategy="int4"
        ) as other_cell,
    ):
        report_twice(best, 0.9)
        assert report_twice(other_seed, 0.1).reason == "best of 1 at rung 2"
        assert report_twice(other_cell, 0.1).reason == "best of 1 at rung 2"
        assert len({t.study_name for t in (best, other_seed, other_cell)}) == 3


def test_another_scope_is_another_study(journal: Path) -> None:
    names = set()
    for scope in ("me/project data-1", "me/project data-2", "x" * 600):
        with open_trial(
            config(), run_id="r", scope=scope, rungs=1, peers=1, default_journal=journal
        ) as trial:
            names.add(trial.study_name)
    assert len(names) == 3
    assert max(map(len, names)) <= 250


def test_reporting_a_rung_twice_keeps_the_first_scores(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as trial:
        trial.report(1, examples(0.5))
        before = trials_in(journal)[0]
        trial.report(1, examples(0.9))
        after = trials_in(journal)[0]
        trial.suspend()
    assert after.intermediate_values == before.intermediate_values
    assert after.system_attrs == before.system_attrs


def test_a_suspended_run_goes_on_with_the_same_trial(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as trial:
        trial.report(1, examples(0.5))
        trial.suspend()
    assert trials_in(journal)[0].state == TrialState.WAITING
    with opened(journal, "a", 1e-3) as trial:
        assert trial.number == 0
        assert trial.reported_rungs == (1,)
        for rung in (1, 2, 3):
            trial.report(rung, examples(0.5))
    (found,) = trials_in(journal)
    assert found.state == TrialState.COMPLETE


def test_a_pruned_run_that_is_opened_again_stops_where_it_stopped(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as best, opened(journal, "b", 1e-4) as bad:
        best.report(1, examples(0.8))
        bad.report(1, examples(0.3))  # a low rate is given a second rung
        best.report(2, examples(0.8))
        stopped = bad.report(2, examples(0.3))
        assert stopped.prune
        with opened(journal, "b", 1e-3) as again:
            assert not again.report(1, examples(0.3)).prune
            assert again.report(2, examples(0.3)) == stopped
        best.suspend()


def test_a_run_at_its_last_rung_has_spent_its_budget_and_is_complete(journal: Path) -> None:
    with opened(journal, "a", 1e-4) as slow, opened(journal, "b", 1e-3) as bad:
        for rung in (1, 2):
            bad.report(rung, examples(0.3))  # waits for the quorum, which never comes
        slow.report(1, examples(0.9))
        assert not bad.report(3, examples(0.3)).prune
        slow.suspend()
    assert trials_in(journal)[1].state == TrialState.COMPLETE


def test_a_suspended_run_that_is_interrupted_by_an_exception_is_still_resumable(
    journal: Path,
) -> None:
    def interrupted_run() -> None:
        with opened(journal, "a", 1e-3) as trial:
            trial.suspend()
            raise SystemExit(0)

    with pytest.raises(SystemExit, match="0"):
        interrupted_run()
    assert trials_in(journal)[0].state == TrialState.WAITING


def test_an_exception_fails_the_trial_and_a_second_try_carries_its_scores_on(
    journal: Path,
) -> None:
    def failing_run() -> None:
        with opened(journal, "a", 1e-3) as trial:
            trial.report(1, examples(0.5))
            raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError, match="oh"):
        failing_run()
    assert [t.state for t in trials_in(journal)] == [TrialState.FAIL]
    with opened(journal, "a", 1e-3) as trial:
        assert trial.reported_rungs == (1,)
        trial.report(2, examples(0.5))
        trial.report(3, examples(0.5))
    assert [t.state for t in trials_in(journal)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_run_stopped_before_its_budget_is_not_taken_for_a_complete_one(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as trial:
        trial.report(1, examples(0.9))
    (found,) = trials_in(journal)
    assert found.state == TrialState.FAIL
    assert found.user_attrs["ended"] == "stopped after rung 1 of 3"


def test_a_pruned_run_stays_pruned_and_so_does_its_grid_point(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as best:
        for rung in (1, 2, 3):
            best.report(rung, examples(0.8))
        with opened(journal, "b", 1e-2) as bad:
            first = report_twice(bad, 0.3)
        with opened(journal, "b", 1e-2) as again:
            assert again.verdict == first
            assert again.report(3, examples(0.9)) == first
        with opened(journal, "other run", 1e-2) as rerun:
            assert report_twice(rerun, 0.3) == first
    assert [t.state for t in trials_in(journal)] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
    ]
    assert trials_in(journal)[1].user_attrs["pruned"] == first.reason


def test_two_last_runs_that_leave_at_the_same_moment_do_not_both_leave(journal: Path) -> None:
    with (
        opened(journal, "a", 1e-3, peers=None) as one,
        opened(journal, "b", 1e-2, peers=None) as two,
    ):
        one.report(1, examples(0.8))
        two.report(1, examples(0.8))
        assert one._may_leave(1)
        assert not two._may_leave(1)


def test_a_run_that_a_stopped_one_has_beaten_is_kept_while_only_a_beginner_is_left(
    journal: Path,
) -> None:
    with (
        opened(journal, "former", 1e-4) as former,
        opened(journal, "good", 1e-3) as good,
        opened(journal, "new", 4e-2) as new,
    ):
        report_twice(former, 0.8)
        former.suspend()
        former.close(failed=False)
        new.report(1, examples(0.1))
        assert not report_twice(good, 0.5).prune
        new.report(2, examples(0.1))
        assert "no other run of the stratum is in the race that was as good" in (
            good.reconsider().reason
        )
        assert new.reconsider().prune
        good.suspend()


def test_a_rung_outside_the_budget_and_scores_that_are_no_numbers_are_refused(
    journal: Path,
) -> None:
    with opened(journal, "a", 1e-3) as trial:
        with pytest.raises(StudyError, match="rung 4 was reported; this run has rungs 1 to 3"):
            trial.report(4, examples(0.5))
        with pytest.raises(StudyError, match="not a number"):
            trial.report(1, {"e": float("nan")})
        assert not trial.report(1, {"e": 0.5}).prune


def test_every_kind_of_tuned_key_can_be_a_trials_parameter(journal: Path) -> None:
    tuned = ["learning_rate", "lora_rank", "schedule", "gradient_checkpointing", "adapter_method"]
    with opened(journal, "a", 1e-3, tuned=tuned) as trial:
        trial.suspend()
    (found,) = trials_in(journal)
    assert found.params == {
        "learning_rate": 1e-3,
        "lora_rank": 16,
        "schedule": "cosine",
        "gradient_checkpointing": False,
    }
    assert "adapter_method=lora" in found.system_attrs[paired_pruner.POINT]
