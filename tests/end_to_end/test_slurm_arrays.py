"""Arrays on a real Slurm with the real wandb agent, against the embedded server.

One cluster for all of them: `xdist_group` keeps them on one worker.
"""

import collections
from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, missing_programs, wait_until
from slurm_stage import Stage, running_cluster, running_stage

pytestmark = [
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"no Slurm here ({', '.join(missing_programs())} not installed); "
        "apt install slurmctld slurmd slurm-client munge",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def stage(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("stage"), cluster, "--settle-s", "2") as stage:
        yield stage


def final_states(stage: Stage, sweep: str) -> dict[str, int]:
    return dict(collections.Counter(run.state for run in stage.runs(sweep)))


def test_an_array_works_through_a_sweep_and_ends(stage: Stage) -> None:
    sweep = stage.create_sweep(4, steps=5, step_s=0.1, project="whole")
    job = stage.submit([sweep])
    wait_until(
        lambda: not stage.cluster.run("squeue", "-h", "--jobs", job).strip(),
        timeout_s=90,
        what="the array to end",
    )
    assert final_states(stage, sweep) == {"finished": 4}
    assert {len(state["lives"]) for state in stage.states("whole")} == {1}
    assert "all sweeps worked through" in stage.logs()
