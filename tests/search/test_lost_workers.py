"""Trials whose worker was killed, stalled or taken over: freed, or taken back."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from agent.errors import StudyError
from agent.search import paired_pruner
from agent.search.studies import release_stale
from tests.processes import ROOT
from tests.search.trial_lab import examples, opened, report_twice, trials_in


def test_a_killed_run_is_not_waited_for_and_not_left_running(journal: Path) -> None:
    with opened(journal, "good", 1e-3) as good:
        killed = _start_worker(journal, "killed", 1e-2)
        report_twice(good, 0.8)
        with opened(journal, "bad", 2e-2) as bad:
            assert "waits for its quorum" in report_twice(bad, 0.3).reason
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            deadline = time.monotonic() + 20
            while not bad.reconsider().prune and time.monotonic() < deadline:
                time.sleep(0.05)
            assert bad.verdict.prune
        good.suspend()
    storage = good._storage
    release_stale(storage, time.time() + 1)
    by_run = {t.system_attrs[paired_pruner.RUN]: t for t in trials_in(journal)}
    assert by_run["killed"].state == TrialState.WAITING
    with opened(journal, "killed", 1e-2) as resumed:
        assert resumed.number == by_run["killed"].number
        resumed.suspend()
    release_stale(storage, time.time() + 8 * 24 * 3600)
    assert {t.state for t in trials_in(journal)} == {TrialState.FAIL, TrialState.PRUNED}


def test_a_run_killed_while_it_asked_whether_it_may_leave_is_back_in_the_race(
    journal: Path,
) -> None:
    with opened(journal, "a", 1e-3) as trial:
        trial.report(1, examples(0.5))
        trial._storage.set_trial_system_attr(trial._id, paired_pruner.LEAVING, True)
        trial.suspend()
    with opened(journal, "a", 1e-3):
        (running,) = trials_in(journal)
        assert paired_pruner.standing_of(running, time.time()) == "running"


def test_running_a_dead_runs_grid_point_again_fails_what_it_left(journal: Path) -> None:
    with opened(journal, "first", 1e-3) as trial:
        trial.report(1, examples(0.4))
        trial.suspend()
    with opened(journal, "second", 1e-3) as trial:
        for rung in (1, 2, 3):
            trial.report(rung, examples(0.4))
    assert [t.state for t in trials_in(journal)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_worker_that_was_stalled_takes_its_trial_back(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as trial:
        trial.report(1, examples(0.4))
        release_stale(trial._storage, time.time() + 3600)
        assert trials_in(journal)[0].state == TrialState.WAITING
        trial.report(2, examples(0.4))
        assert trials_in(journal)[0].state == TrialState.RUNNING
        assert trial.renew(time.time(), time.time() + 60)
        trial.suspend()


def test_a_trial_ended_by_another_process_says_so(journal: Path) -> None:
    with opened(journal, "a", 1e-3) as trial:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        storage.set_trial_state_values(0, TrialState.FAIL)
        assert not trial.renew(time.time(), time.time())
        with pytest.raises(StudyError, match=r"ended by another process \(FAIL\)"):
            trial.report(1, examples(0.5))


# ---------------------------------------------------------------------- a real other process
WORKER = """
import sys, time
from pathlib import Path
from tests.search.trial_lab import opened
journal, run, rate = sys.argv[1:]
with opened(Path(journal), run, float(rate), beat_s=0.1):
    print("open", flush=True)
    time.sleep(60)
"""


def _start_worker(journal: Path, run: str, rate: float) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", WORKER, str(journal), run, str(rate)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.stdout.close()
    return process
