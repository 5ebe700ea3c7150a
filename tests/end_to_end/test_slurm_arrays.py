"""Arrays on a real Slurm with the real wandb agent, against the embedded server.

One cluster for all of them: `xdist_group` keeps them on one worker.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.takeover import TAKEN_OVER
from tests.end_to_end import slurm_faults, slurm_orphan
from tests.end_to_end.slurm_cluster import needs_slurm
from tests.end_to_end.slurm_faults import Outcome
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage
from tests.end_to_end.slurm_training import complaints

pytestmark = [pytest.mark.xdist_group("slurm"), needs_slurm]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    patience = ["--settle-s", "2", "--silence-s", "60", "--lease-s", "60"]
    place = tmp_path_factory.mktemp("stage")
    with (
        running_cluster(tmp_path_factory.mktemp("slurm"), nodes=11) as cluster,
        running_stage(place, cluster, *patience) as stage,
    ):
        stage.init_git()
        yield stage


class Faults:
    """All faults at once, each on a node of its own, because each has to wait for Slurm."""

    def __init__(self, stage: Stage, pool: ThreadPoolExecutor) -> None:
        start = pool.submit
        self.limit = start(slurm_faults.time_limit, stage, "limit")
        self.requeue = start(slurm_faults.preemption, stage, "requeue")
        self.requeued = start(slurm_faults.requeue, stage, "requeued")
        self.orphan = start(slurm_orphan.awaken, stage)
        self.cancel = start(slurm_faults.preemption_by_cancelling, stage, "cancel")
        self.missing = start(slurm_faults.missing_data, stage, "missing")
        self.edited = start(slurm_faults.edited_script, stage, "edited")
        self.chain = start(slurm_faults.preemption_by_cancelling_with_chain, stage, "chain")
        self.cancelled = start(slurm_faults.cancellation, stage, "cancelled")
        self.program = start(slurm_faults.killed_program, stage, "program")
        self.agent = start(slurm_faults.killed_agent, stage, "agent")


@pytest.fixture(scope="module")
def faults(stage: Stage) -> Iterator[Faults]:
    with ThreadPoolExecutor(12) as pool:
        yield Faults(stage, pool)


def check_resumed(outcome: Outcome, *, steps: int = slurm_faults.STEPS) -> None:
    """And no line in the log that a user should not see."""
    check_same_run(outcome, steps=steps)
    assert complaints(outcome.log) == []


def check_same_run(outcome: Outcome, *, steps: int = slurm_faults.STEPS) -> None:
    """One run, finished, every step once, the weights of an undisturbed run."""
    assert outcome.run_state == "finished", outcome.log
    assert outcome.same_weights, outcome.log
    assert outcome.logged_twice == 0
    assert outcome.steps_logged == steps
    assert len(outcome.run_ids) == 1
    assert outcome.overlaps == 0


def test_a_preempted_task_saves_is_requeued_by_the_cluster_and_goes_on(faults: Faults) -> None:
    outcome = faults.requeue.result()
    check_resumed(outcome)
    assert (outcome.attempts, outcome.restarts) == (2, 1)
    assert "the cluster requeues preempted jobs" in outcome.log
    assert outcome.notice_to_saved_s is not None


def test_a_task_that_is_requeued_by_hand_saves_and_goes_on(faults: Faults) -> None:
    outcome = faults.requeued.result()
    check_same_run(outcome)  # wandb's process has ended as well, which train.py puts into a line
    assert (outcome.attempts, outcome.restarts) == (2, 1)
    assert "Slurm starts the task again" in outcome.log


def test_where_the_cluster_cancels_the_task_requeues_itself_and_goes_on(faults: Faults) -> None:
    outcome = faults.cancel.result()
    check_resumed(outcome)
    assert (outcome.attempts, outcome.restarts) == (2, 1)
    assert "PreemptMode=CANCEL does not requeue by itself" in outcome.log


def test_where_requeueing_is_forbidden_the_next_of_the_chain_goes_on(faults: Faults) -> None:
    outcome, logs = faults.chain.result()
    check_resumed(outcome)
    assert outcome.attempts == 2
    assert "the job may not be requeued; a chained job goes on from here" in logs[0]
    assert "all sweeps worked through" in logs[1]
    assert "all sweeps worked through" in logs[2]
    assert "has no grid point for one more agent" in logs[2]  # the chain ends with the sweeps


def test_the_shipped_script_works_with_plain_sbatch(faults: Faults) -> None:
    check_resumed(faults.edited.result(), steps=8)


def test_missing_data_ends_each_run_once_with_the_reason_and_stops_no_agent(
    faults: Faults,
) -> None:
    job_state, runs = faults.missing.result()
    assert job_state == "FAILED"  # so that Slurm's mail and afterok mean something
    assert [run.state for run in runs] == ["failed"] * 6
    assert all("no/such/file.jsonl" in run.summary["stopped/reason"] for run in runs)


def test_an_orphan_that_wakes_up_writes_neither_to_the_store_nor_to_the_run(
    faults: Faults,
) -> None:
    woken = faults.orphan.result()
    assert (woken.orphan_status, woken.status) == (TAKEN_OVER, 0), woken.orphan_words
    assert "was taken for dead and writes nothing any more" in woken.orphan_words
    assert woken.run_state == "finished"
    assert woken.steps == list(range(1, woken.total_steps + 1))
    assert complaints(woken.orphan_words + woken.words) == []
    assert woken.writers == [1, 2, 2]  # terms of office: nothing of the first after the second's


def test_a_task_at_its_time_limit_requeues_itself_and_goes_on(faults: Faults) -> None:
    outcome = faults.limit.result()
    check_resumed(outcome, steps=slurm_faults.LIMIT_STEPS)
    assert outcome.restarts >= 1
    assert "time limits never requeue by themselves" in outcome.log


def test_a_cancelled_task_leaves_a_true_state_and_nothing_running(faults: Faults) -> None:
    outcome, seconds = faults.cancelled.result()
    assert outcome.job_state == "CANCELLED"
    assert outcome.run_state in ("failed", "killed"), outcome.log
    assert seconds < 30


def test_the_point_of_a_killed_program_is_completed(faults: Faults) -> None:
    outcome = faults.program.result()
    check_resumed(outcome)
    assert "was killed from outside (SIGKILL)" in outcome.log


def test_the_point_of_a_killed_agent_is_completed_by_the_same_program(faults: Faults) -> None:
    outcome = faults.agent.result()
    check_resumed(outcome)
    assert outcome.attempts == 1
