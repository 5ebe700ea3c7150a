"""A study from submit to rerun with the real train.py, its server a job that is moved."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from agent.cluster.job.server_task import local_place
from agent.demo.data import write_data
from agent.tracking.endpoint import read_note
from tests.end_to_end.slurm_cluster import needs_slurm, wait_until
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage

REPOSITORY = Path(__file__).parents[2]
SMALL = {"epochs": 1, "test_fraction": 0.8, "eval_examples": 8, "learning_rate": 0.002}
# An extension that only tells where it was imported; it is not part of the package.
EXTENSION = """\
import os, pathlib
with pathlib.Path("outputs/imported").open("a") as file:
    file.write(os.environ.get("SLURM_JOB_ID", "login") + "\\n")
"""

pytestmark = [pytest.mark.xdist_group("slurm-commands"), needs_slurm]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        running_cluster(tmp_path_factory.mktemp("slurm")) as cluster,
        running_stage(tmp_path_factory.mktemp("stage"), cluster) as stage,
    ):
        shutil.copy(REPOSITORY / "train.py", stage.directory)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "agent", stage.directory / "agent", ignore=ignored)
        (stage.directory / "my_rows.py").write_text(EXTENSION)
        write_data(stage.directory / "outputs/demo/data")
        sweep = yaml.safe_load((REPOSITORY / "sweeps/demo/full_lora.yaml").read_text())
        sweep["parameters"] |= {name: {"value": value} for name, value in SMALL.items()}
        (stage.directory / "small.yaml").write_text(yaml.safe_dump({**sweep, "project": "small"}))
        stage.init_git()
        yield stage


def test_a_study_with_a_server_in_a_job_is_submitted_watched_read_and_rerun(stage: Stage) -> None:
    data = stage.directory / "outputs/served"
    flags = stage.flags(array="0-0", server_data=data, state_dir="outputs/cluster")
    access = stage.access(server_data=data)
    shown = stage.command(
        "submit", "small.yaml", "--serve-in-job", "--extensions", "my_rows", *flags
    ).stdout
    server = shown.partition("server  job ")[2].partition(";")[0]
    job = next(line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["job"])

    # -- the server is moved while the array runs; agents look its address up again
    stage.cluster.wait_for_state(f"{job}_0", "RUNNING", timeout_s=60)
    stage.cluster.run("scontrol", "requeue", server)
    stage.cluster.wait_for_end(job, timeout_s=240)
    assert stage.cluster.fields_of(server)["Restarts"] == "1"
    status = stage.command("status", *access).stdout
    assert "finished of 1: 1 done" in status, stage.log_of(job)

    # -- what the run has recorded
    (run,) = runs_of(data)
    assert run.state == "finished"
    path = f"{run.entity}/{run.project}/{run.id}"
    recorded = {"code/commit", "code/snapshot", "slurm/array_job_id", "slurm/node"}
    assert recorded | {"slurm/log_path"} <= set(run.config)
    assert run.config["code/extensions"] == "my_rows"
    assert {"train/gpu", "base/digest", "data/digest"} <= set(run.summary.keys())
    assert set((stage.directory / "outputs/imported").read_text().split()) > {"login"}
    assert f": run {run.id} of " in stage.command("logs", path, *access).stdout

    # -- the same point again, from the code that ran it
    (stage.directory / "train.py").write_text("raise SystemExit('not this one')\n")
    differing = stage.command("rerun", path, *access).stdout
    assert "differs today: code: " in differing
    assert "differs today: uncommitted changes: none → " in differing
    again = next(other for other in runs_of(data) if other.id != run.id)
    assert again.state == "finished"
    assert again.config["code/snapshot"] == run.config["code/snapshot"]
    assert again.summary["final/point_digest"] == run.summary["final/point_digest"]

    # -- the server ends with a snapshot of all that
    stage.cluster.run("scancel", server)
    stage.cluster.wait_for_state(server, "CANCELLED", "COMPLETED", timeout_s=60)
    wait_until(lambda: not places_left(data), timeout_s=30, what="the node's disk to be clean")
    assert (data / "server.db").stat().st_size > 0


def runs_of(data: Path) -> list[Any]:
    note = read_note(data)
    api = wandb.Api(overrides={"base_url": note.url}, api_key=note.key)
    found = list(api.runs(f"{note.entity}/small"))
    for run in found:
        run.load_full_data()
    return found


def places_left(data: Path) -> bool:
    return local_place(Path(os.environ.get("TMPDIR", "/tmp")), data).exists()
