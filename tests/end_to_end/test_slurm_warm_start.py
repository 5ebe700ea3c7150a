"""A task of the array keeps a warm worker, on a real Slurm with real trainings."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.end_to_end.slurm_cluster import needs_slurm, wait_until
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage
from tests.end_to_end.slurm_training import (
    SMALL,
    create_demo_sweep,
    hit,
    is_awake,
    pids,
    prepare_project,
)

pytestmark = [pytest.mark.xdist_group("slurm-warm"), needs_slurm]
WORKER = "agent.programs.warm_worker"
Logs = tuple["Future[str]", "Future[str]"]
SHORT = {**SMALL, "epochs": 2, "learning_rate": [0.001, 0.002]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("warm")
    with (
        running_cluster(directory, nodes=2) as cluster,
        running_stage(directory, cluster, "--settle-s", "2") as stage,
    ):
        prepare_project(stage)
        yield stage


def submit(stage: Stage, project: str, **values: object) -> tuple[str, str]:
    """A sweep and the job of one task that works it off."""
    sweep = create_demo_sweep(stage, "full_lora", project, **{**SHORT, **values})
    options = {"array": "0-0", "time": "00:20:00", "lead_s": "60", "partition": "scav"}
    return sweep, stage.submit([sweep], **options)


def wait_for_a_point(stage: Stage, project: str) -> None:
    store = stage.directory / "outputs" / f"store-{project}"
    wait_until(lambda: any(store.glob("*/eval-0001")), timeout_s=240, what="an evaluation point")


def workers_of(stage: Stage, job: str) -> list[int]:
    """The job's warm worker and what it has forked."""
    return pids(stage, f"SLURM_ARRAY_JOB_ID={job}\0", WORKER)


def preempted(stage: Stage) -> str:
    """What the task printed whose node was taken away for a moment."""
    sweep, job = submit(stage, "preempted", epochs=8, learning_rate=[0.001])
    wait_for_a_point(stage, "preempted")
    assert len(workers_of(stage, job)) == 2  # the worker and the run, its fork
    hit(stage, sweep, job, "requeue", "preempted")  # a job of a higher partition takes the node
    stage.cluster.wait_for_end(job, timeout_s=300)
    (run,) = stage.runs(sweep)
    assert run.state == "finished"
    logged = [int(row["step"]) for row in run.scan_history(keys=["step"])]
    assert len(logged) == len(set(logged))
    assert [pid for pid in workers_of(stage, job) if is_awake(pid)] == []
    return stage.log_of(job)


def killed(stage: Stage) -> str:
    """What the task printed whose worker was killed in the first of two runs."""
    sweep, job = submit(stage, "killed", epochs=4)
    wait_for_a_point(stage, "killed")
    os.kill(min(workers_of(stage, job)), signal.SIGKILL)
    stage.cluster.wait_for_end(job, timeout_s=300)
    assert [run.state for run in stage.runs(sweep)] == ["finished"] * 2
    return stage.log_of(job)


@pytest.fixture(scope="module")
def logs(stage: Stage) -> Iterator[Logs]:
    """Both side by side, as most of their time is Slurm's."""
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit(preempted, stage), pool.submit(killed, stage)


def test_a_preempted_task_saves_its_warm_run_goes_on_and_leaves_nothing(logs: Logs) -> None:
    assert re.search(r"preempted: saved \S+ s after the notice", logs[0].result())


def test_runs_go_on_alone_when_the_worker_is_killed(logs: Logs) -> None:
    assert "the warm worker has ended; going on alone" in logs[1].result()
