"""How much of what tasks hold is work, on a real Slurm.

    python -m tests.end_to_end.slurm_allocation [TASKS POINTS SECONDS]
    python -m tests.end_to_end.slurm_allocation demo [EPOCHS [NODES]]

More tasks than points, sent through `submit`; and by hand, past its limit on tasks, where those
without a point have to leave by themselves. For comparison the same array does nothing at all:
what Slurm itself holds, where all tasks start at once on this machine's cores.

`demo`: the demo's 15 points with the real train.py through four tasks of one core each. With as
many nodes as this machine has cores (the default) no training waits for another one's core, and the
other tasks begin when the first have ended; with four nodes all four share the cores.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.cluster.job_records import JobRecords
from tests.end_to_end.slurm_demo import SWEEPS
from tests.end_to_end.slurm_stage import Stage, job_in, running_cluster, running_stage
from tests.end_to_end.slurm_training import prepare_project, write_demo_sweep

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
    runs = stage.runs(sweep)
    return Allocation(
        tasks=tasks,
        points=len(runs),
        finished=sum(run.state == "finished" for run in runs),
        allocated_s=allocated_s(stage, job, range(tasks)),
        alive_s=sum(float(run.summary["_runtime"]) for run in runs),
        worked_s=sum(state["step"] for state in stage.states(project)) * STEP_S,
    )


def of_nothing(stage: Stage, tasks: int) -> float:
    """Seconds that a task holds which only starts and ends, all of them together at once."""
    script = stage.directory / "nothing.sbatch"
    script.write_text("#!/bin/bash\n#SBATCH --export=NONE\ntrue\n")
    words = [f"--array=0-{tasks - 1}", "--gres=gpu:1", "--mem=500M", "--output=/dev/null"]
    job = stage.cluster.sbatch(*words, str(script), directory=stage.directory)
    stage.cluster.wait_for_end(job, timeout_s=600)
    return allocated_s(stage, job, range(tasks)) / tasks


def allocated_s(stage: Stage, job: str, tasks: Iterable[int]) -> float:
    """By Slurm, of all these tasks together."""
    fields = [stage.cluster.fields_of(f"{job}_{index}") for index in tasks]
    return sum(seconds_of(each["RunTime"]) for each in fields)


def seconds_of(text: str) -> float:
    """Of Slurm's hours:minutes:seconds."""
    hours, minutes, seconds = map(int, text.split(":"))
    return hours * 3600.0 + minutes * 60 + seconds


def demo(stage: Stage, epochs: int) -> dict[str, object]:
    """The demo's 15 points through four tasks; seconds of all tasks together.

    A run is alive by W&B's word. Steps and validation are what the store has recorded of every
    training and of every set of scores, whichever run made them.
    """
    paths = [str(write_demo_sweep(stage, name, "demo", epochs=epochs)) for name in SWEEPS]
    began = time.monotonic()
    done = stage.command("submit", *paths, *stage.flags(array="0-3", time="02:00:00"))
    job = job_in(done.stdout)
    stage.cluster.wait_for_end(job, timeout_s=3600)
    record = JobRecords(stage.directory / "outputs/cluster").find(job)
    assert record is not None
    runs = [run for sweep in record.sweeps for run in stage.runs(sweep)]
    held = allocated_s(stage, job, record.tasks)
    alive = sum(float(run.summary["_runtime"]) for run in runs)
    stepped, validated = recorded_s(stage.directory / "outputs/store-demo")
    return {
        "tasks": len(record.tasks),
        "epochs": epochs,
        "runs": len(runs),
        "states": dict(Counter(run.state for run in runs)),
        "pruned": sum("pruned" in run.tags for run in runs),
        "seconds": round(time.monotonic() - began, 1),
        "allocated_s": held,
        "alive_share": round(alive / held, 3),
        "training_share": round((stepped + validated) / held, 3),
        "steps_share": round(stepped / held, 3),
        "validation_share": round(validated / held, 3),
    }


def recorded_s(store: Path) -> tuple[float, float]:
    """Seconds of optimizer steps, with saving between evaluation points, and of validation."""
    stepped = validated = 0.0
    for training in {path.parent for path in store.glob("*/eval-*")}:
        last = max(training.glob("eval-*"))
        cost = json.loads((last / "record.json").read_text())["cost"]
        stepped += cost["train_seconds"] + cost["save_seconds"]
    for path in store.glob("*/eval-*/scores/*/scores.json"):
        validated += json.loads(path.read_text())["seconds"]
    return stepped, validated


def measure_demo(epochs: int, nodes: int) -> int:
    with (
        tempfile.TemporaryDirectory() as place,
        running_cluster(Path(place) / "slurm", nodes=nodes) as cluster,
        running_stage(Path(place) / "stage", cluster, "--settle-s", "2") as stage,
    ):
        prepare_project(stage)
        print(json.dumps({**demo(stage, epochs), "nodes": nodes}), flush=True)
    return 0


def main(words: list[str]) -> int:
    if words[:1] == ["demo"]:
        epochs, nodes = (*map(int, words[1:]), *(3, os.cpu_count() or 1)[len(words) - 1 :])
        return measure_demo(epochs, nodes)
    tasks, points, seconds = (*map(int, words), *(16, 3, 60)[len(words) :])
    with (
        tempfile.TemporaryDirectory() as place,
        running_cluster(Path(place) / "slurm", nodes=tasks) as cluster,
        running_stage(Path(place) / "stage", cluster, "--settle-s", "2") as stage,
    ):
        stage.init_git()
        print(json.dumps({"of_nothing": of_nothing(stage, tasks)}), flush=True)
        for function in (through_submit, by_hand):
            found = function(stage, tasks, points, float(seconds))
            print(json.dumps({function.__name__: found.figures}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
