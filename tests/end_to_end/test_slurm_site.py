"""A site whose disks are full, on a real Slurm with the real train.py: told, waited out, given up.

A full minute of it: `python -m tests.end_to_end.slurm_full_disk`.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.slurm_cluster import needs_slurm, wait_until
from tests.end_to_end.slurm_full_disk import can_mount, charged, fill, keep_full, small_disk
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage
from tests.end_to_end.slurm_training import SMALL, complaints, prepare_project, write_demo_sweep

pytestmark = [
    pytest.mark.xdist_group("slurm-commands"),
    needs_slurm,
    pytest.mark.skipif(not can_mount(), reason="mounting a small file system needs root"),
]
SHORT = {**SMALL, "epochs": 2, "learning_rate": 0.002}
LIMIT_S = 8


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("stage") / "my stüdy"
    with (
        running_cluster(tmp_path_factory.mktemp("slurm")) as cluster,
        running_stage(place, cluster, "--settle-s", "2") as stage,
    ):
        prepare_project(stage)
        yield stage


def submit(stage: Stage, *words: str, **flags: object) -> str:
    shown = stage.command("submit", *words, *stage.flags(array="0-0", **flags)).stdout
    return next(line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["job"])


def wait_for_end(stage: Stage, job: str) -> str:
    states = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
    return stage.cluster.wait_for_state(f"{job}_0", *states, timeout_s=240)


def test_a_store_that_stays_full_fails_the_task_with_a_reason_and_a_later_submit_goes_on(
    stage: Stage,
) -> None:
    environment = stage.directory / "outputs/cluster/environment"
    environment.parent.mkdir(parents=True, exist_ok=True)
    environment.write_text(f"SWEEP_AGENT_SITE_WAIT_S={LIMIT_S}\n")
    with small_disk(stage.directory / "outputs/full store", "1m") as store:
        path = write_demo_sweep(stage, "full_lora", "lasting", **SHORT, store=str(store))
        fill(store / "filler")
        job = submit(stage, str(path))
        assert wait_for_end(stage, job) == "FAILED", stage.log_of(job)
        assert stage.cluster.fields_of(f"{job}_0")["ExitCode"] == "74:0"
        sweep = stage.sweep_of("lasting")
        text = stage.command("status", sweep, *stage.access()).stdout
        assert "met a fault of the site that lasted (disk, quota, permission or network)" in text
        assert "No space left on device" in text
        assert [run.state for run in stage.runs(sweep)] == ["preempted"]
        assert "next: " in text
    environment.unlink()
    again = submit(stage, sweep)
    assert wait_for_end(stage, again) == "COMPLETED", stage.log_of(again)
    assert [run.state for run in stage.runs(sweep)] == ["finished"]
    assert charged(stage, sweep) == [1]
    assert complaints(stage.log_of(job) + stage.log_of(again)) == []


def test_a_log_directory_that_fills_up_ends_no_run_and_is_told(stage: Stage) -> None:
    with small_disk(stage.directory / "logs/few", "256k") as logs:
        log = logs / "%A_%a.log"
        path = write_demo_sweep(stage, "full_lora", "logless", **SHORT)
        job = submit(stage, str(path), log=log)
        store = stage.directory / "outputs/store-logless"
        wait_until(lambda: any(store.glob("*/lease")), timeout_s=120, what="the training")
        filling = threading.Thread(target=keep_full, args=(logs, 30.0))
        filling.start()
        wait_until(lambda: (logs / "filler").exists(), timeout_s=10, what="a full disk")
        text = stage.command("status", *stage.access()).stdout
        problem = f"the log directory {logs} takes no data (No space left on device)"
        assert f"disk: {problem}" in text
        refused = stage.command("submit", str(path), *stage.flags(log=log), check=False)
        assert (refused.returncode, problem in refused.stderr) == (2, True)
        assert wait_for_end(stage, job) == "COMPLETED"
        filling.join()
        assert [run.state for run in stage.runs(stage.sweep_of("logless"))] == ["finished"]


def test_a_task_whose_log_slurm_cannot_open_is_explained(stage: Stage) -> None:
    path = write_demo_sweep(stage, "full_lora", "unopened", **SHORT)
    with small_disk(stage.directory / "logs/none", "1m", ",nr_inodes=4") as logs:
        flags = {"log": logs / "%A_%a.log", "sbatch": "begin=now+10"}
        job = submit(stage, str(path), **flags)
        for number in range(4):
            take_inode(logs / str(number))
        assert wait_for_end(stage, job) == "FAILED"
        text = stage.command("status", stage.sweep_of("unopened"), *stage.access()).stdout
    assert "Slurm could not open its log: the log's directory is missing, full" in text


def take_inode(path: Path) -> None:
    try:
        path.touch()
    except OSError:
        return
