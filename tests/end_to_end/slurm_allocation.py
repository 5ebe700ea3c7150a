"""How much of what tasks hold is work, on a real Slurm.

    python -m tests.end_to_end.slurm_allocation [TASKS POINTS SECONDS]
    python -m tests.end_to_end.slurm_allocation demo

More tasks than points, sent through `submit`; and by hand, past its limit on tasks, where those
without a point have to leave by themselves. `demo`: the demo's 15 points with the real train.py
through four tasks, which share this machine's cores.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.cluster.job_records import JobRecords
from tests.end_to_end.slurm_demo import whole_demo
from tests.end_to_end.slurm_stage import Stage, job_in, running_cluster, running_stage
from tests.end_to_end.slurm_training import prepare_project

STEP_S = 0.5


@dataclass(frozen=True)
class Allocation:
    """Seconds of all tasks together."""

    tasks: int
    points: int
    finished: int
    allocated_s: float  # by Slurm
    alive_s: float  # a run was alive, by W&B
    worked_s: float  # a run made steps

    @property
    def ratio(self) -> float:
        """Of what was held to what lived; 1 is the least possible."""
        return self.allocated_s / self.alive_s

    @property
    def figures(self) -> dict[str, float]:
        """With its ratio and the shares of it in which a run was alive and made steps."""
        shares = {
            "ratio": self.ratio,
            "alive_share": self.alive_s / self.allocated_s,
            "worked_share": self.worked_s / self.allocated_s,
        }
        return asdict(self) | {name: round(value, 3) for name, value in shares.items()}


def through_submit(stage: Stage, tasks: int, points: int, seconds: float) -> Allocation:
    path = stage.write_sweep("held", points, steps=int(seconds / STEP_S), step_s=STEP_S)
    done = stage.command("submit", str(path), *stage.flags(array=f"0-{tasks - 1}"))
    job = job_in(done.stdout)
    sent = JobRecords(stage.directory / "outputs/cluster").find(job)
    assert sent is not None
    return measured(stage, "held", stage.sweep_of("held"), job, len(sent.tasks), seconds)


def by_hand(stage: Stage, tasks: int, points: int, seconds: float) -> Allocation:
    steps = int(seconds / STEP_S)
    sweep = stage.create_sweep(points, steps=steps, step_s=STEP_S, project="hand")
    job = stage.submit([sweep], array=f"0-{tasks - 1}")
    return measured(stage, "hand", sweep, job, tasks, seconds)


def measured(
    stage: Stage, project: str, sweep: str, job: str, tasks: int, seconds: float
) -> Allocation:
    stage.cluster.wait_for_end(job, timeout_s=600 + 20 * seconds)
    ran = [stage.cluster.fields_of(f"{job}_{index}")["RunTime"] for index in range(tasks)]
    runs = stage.runs(sweep)
    return Allocation(
        tasks=tasks,
        points=len(runs),
        finished=sum(run.state == "finished" for run in runs),
        allocated_s=sum(seconds_of(text) for text in ran),
        alive_s=sum(float(run.summary["_runtime"]) for run in runs),
        worked_s=sum(state["step"] for state in stage.states(project)) * STEP_S,
    )


def seconds_of(text: str) -> float:
    """Of Slurm's hours:minutes:seconds."""
    hours, minutes, seconds = map(int, text.split(":"))
    return hours * 3600.0 + minutes * 60 + seconds


def measure_demo() -> int:
    with (
        tempfile.TemporaryDirectory() as place,
        running_cluster(Path(place) / "slurm", nodes=4) as cluster,
        running_stage(Path(place) / "stage", cluster, "--settle-s", "2") as stage,
    ):
        prepare_project(stage)
        print(json.dumps(whole_demo(stage)), flush=True)
    return 0


def main(words: list[str]) -> int:
    if words == ["demo"]:
        return measure_demo()
    tasks, points, seconds = (*map(int, words), *(16, 3, 60)[len(words) :])
    with (
        tempfile.TemporaryDirectory() as place,
        running_cluster(Path(place) / "slurm", nodes=tasks) as cluster,
        running_stage(Path(place) / "stage", cluster, "--settle-s", "2") as stage,
    ):
        stage.init_git()
        for function in (through_submit, by_hand):
            found = function(stage, tasks, points, float(seconds))
            print(json.dumps({function.__name__: found.figures}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
