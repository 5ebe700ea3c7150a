"""Several types of GPU in one submission, on a real Slurm whose two nodes differ."""

from collections.abc import Iterator

import pytest

from agent.cluster.job_records import JobRecords
from tests.end_to_end.slurm_cluster import needs_slurm
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage

pytestmark = [pytest.mark.xdist_group("slurm-commands"), needs_slurm]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("slurm")
    with (
        running_cluster(place, gpu_types=("a100", "h100")) as cluster,
        running_stage(tmp_path_factory.mktemp("stage"), cluster, "--settle-s", "2") as stage,
    ):
        stage.init_git()
        yield stage


def test_a_type_that_the_cluster_has_not_refuses_all(stage: Stage) -> None:
    path = stage.write_sweep("typo", 2, steps=1, step_s=0.1)
    flags = stage.flags(array="0-1", gres="gpu:a100:1|gpu:b200:1")
    done = stage.command("submit", str(path), *flags, check=False)
    assert done.returncode == 2, done.stdout
    assert "nothing was created" in done.stderr
    assert "gpu:a100:1" in done.stderr
    assert "gpu:h100:1" in done.stderr
    assert stage.cluster.run("squeue", "-h").strip() == ""
    assert list(stage.api().projects(stage.entity)) == []


def test_tasks_are_divided_among_the_types_and_share_the_points(stage: Stage) -> None:
    path = stage.write_sweep("both", 3, steps=10, step_s=0.5)
    flags = stage.flags(array="0-1", gres="gpu:a100:1|gpu:h100:1")
    done = stage.command("submit", str(path), *flags)
    words = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["job"]]
    assert [" ".join(line[2:]) for line in words] == [
        "(1 task(s) on gpu:a100:1)",
        "(1 task(s) on gpu:h100:1)",
    ]
    jobs = [line[1] for line in words]
    stage.cluster.wait_for_end(*jobs, timeout_s=150)
    records = [JobRecords(stage.directory / "outputs/cluster").find(job) for job in jobs]
    assert [record.tasks for record in records if record] == [(0,), (1,)]
    nodes = [stage.cluster.fields_of(f"{jobs[i]}_{i}")["NodeList"] for i in (0, 1)]
    assert nodes == ["n1", "n2"]
    sweep = stage.sweep_of("both")
    assert [run.state for run in stage.runs(sweep)] == ["finished"] * 3
    assert {life[1] for state in stage.states("both") for life in state["lives"]} <= {
        *(stage.cluster.fields_of(f"{jobs[i]}_{i}")["JobId"] for i in (0, 1))
    }
    text = stage.command("status", sweep, *stage.access()).stdout
    assert all(f"{job}_" in text for job in jobs), text
