"""Disks that are full for a while in the middle of a sweep, on a real Slurm with real trainings.

    python -m tests.end_to_end.slurm_full_disk [SECONDS [PLACE …]]

Small file systems of their own (tmpfs, so root is needed) hold the training store, the pruning
journal, the server's data or the whole project with its logs; one of them is kept full for a
minute. It costs the runs time and nothing else.
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import wandb

from tests.end_to_end.slurm_cluster import SlurmCluster, wait_until
from tests.end_to_end.slurm_stage import Stage, running_cluster, running_stage
from tests.end_to_end.slurm_training import SMALL, complaints, create_demo_sweep, prepare_project

PLACES = ("store", "journal", "server", "project")
RATES = (0.001, 0.002, 0.003)
SIZE = {"store": "48m", "journal": "2m", "server": "48m", "project": "400m"}
FULL_S = 60.0
PATIENCE = ("--settle-s", "5", "--silence-s", "60", "--lease-s", "60")
END_TIMEOUT_S = 900


@dataclass(frozen=True)
class Drought:
    """What became of a sweep whose disk was full for a while."""

    place: str
    full_s: float
    points: int
    finished: int
    trained: int  # with a final score after the last epoch, or pruned
    most_attempts: int  # that a point was charged; 1 is its own
    sweep_state: str
    steps_logged_twice: int
    steps_missing: int  # of those that are due, up to each run's last
    tasks: dict[str, int]  # by Slurm's state
    waited: bool  # a log says what was waited for
    complaints: tuple[str, ...]  # tracebacks, and lines that W&B ignored
    log: str = field(repr=False)

    @property
    def figures(self) -> dict[str, object]:
        """All but the log."""
        return {name: value for name, value in asdict(self).items() if name != "log"}

    @property
    def is_sound(self) -> bool:
        whole = (self.points, self.points)
        return (
            (self.finished, self.trained) == whole
            and self.most_attempts == 1
            and self.sweep_state == "FINISHED"
            and (self.steps_logged_twice, self.steps_missing) == (0, 0)
            and set(self.tasks) == {"COMPLETED"}
            and not self.complaints
        )


def can_mount() -> bool:
    """Whether small file systems can be mounted here."""
    with tempfile.TemporaryDirectory() as place:
        try:
            with small_disk(Path(place), "1m"):
                return True
        except subprocess.CalledProcessError:
            return False


@contextlib.contextmanager
def small_disk(place: Path, size: str, options: str = "") -> Iterator[Path]:
    """A file system of that size at `place`. CalledProcessError without the right to mount."""
    place.mkdir(parents=True, exist_ok=True)
    given = f"size={size},mode=700{options}"
    words = ["mount", "-t", "tmpfs", "-o", given, "none", str(place)]
    subprocess.run(words, capture_output=True, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def keep_full(place: Path, seconds: float) -> None:
    """Take every byte that is free there or becomes free, for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fill(place / "filler")
        time.sleep(0.2)
    (place / "filler").unlink()


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def endure(cluster: SlurmCluster, directory: Path, place: str, seconds: float = FULL_S) -> Drought:
    """A sweep of three trainings through two tasks; `place` becomes full after the first points."""
    disks = {name: directory / name for name in PLACES}
    disks["project"] = directory / "stage/project"
    disks["server"] = directory / "stage/server"
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_disk(disks[place], SIZE[place]))
        stage = stack.enter_context(running_stage(directory / "stage", cluster, *PATIENCE))
        prepare_project(stage)
        project = f"full-{place}"
        store = disks["store"] if place != "project" else stage.directory / "outputs/store"
        values = {**SMALL, "learning_rate": list(RATES), "store": str(store)}
        if place == "journal":
            values["pruning_storage"] = str(disks["journal"] / "journal.log")
        sweep = create_demo_sweep(stage, "full_lora", project, **values)
        job = stage.submit([sweep], array="0-1", time="00:30:00")
        wait_until(
            lambda: len(list(store.glob("*/eval-0001"))) == 2, timeout_s=600, what="first points"
        )
        keep_full(disks[place], seconds)
        wait_until(
            lambda: not cluster.run("squeue", "-h", "--jobs", job).strip(),
            timeout_s=END_TIMEOUT_S,
            what=f"the array under a full {place}",
        )
        return _look(stage, sweep, job, place, seconds)


def _look(stage: Stage, sweep: str, job: str, place: str, seconds: float) -> Drought:
    runs = stage.runs(sweep)
    twice = missing = 0
    for run in runs:
        steps = [int(row["step"]) for row in run.scan_history(keys=["step"])]
        twice += len(steps) - len(set(steps))
        every = int(SMALL["log_every_steps"])
        missing += len(set(range(every, run.summary["step"] + 1, every)) - set(steps))
    log = stage.log_of(job)
    return Drought(
        place=place,
        full_s=seconds,
        points=len(RATES),
        finished=sum(run.state == "finished" for run in runs),
        trained=sum(is_trained(run) for run in runs),
        most_attempts=max(charged(stage, sweep), default=0),
        sweep_state=stage.api().sweep(sweep).state,
        steps_logged_twice=twice,
        steps_missing=missing,
        tasks=dict(Counter(stage.cluster.state_of(f"{job}_{n}") for n in (0, 1))),
        waited="waiting for the site: " in log,
        complaints=tuple(complaints(log)),
        log=log,
    )


def charged(stage: Stage, sweep: str) -> list[int]:
    """The attempts that the server has charged each point of a sweep; the one that finishes it
    counts as one.
    """
    query = "SELECT attempts FROM point JOIN sweep ON sweep.id = sweep_id WHERE sweep.name = ?"
    with contextlib.closing(sqlite3.connect(stage.server_data / "server.db")) as database:
        return [row[0] for row in database.execute(query, (sweep.rpartition("/")[2],))]


def is_trained(run: "wandb.apis.public.Run") -> bool:
    is_whole = "final/validation_f1_score" in run.summary
    return "stopped/rung" in run.summary or (is_whole and run.summary["epoch"] == SMALL["epochs"])


def main(words: list[str]) -> int:
    seconds = float(words[0]) if words else FULL_S
    places = words[1:] or PLACES
    with (
        tempfile.TemporaryDirectory(prefix="full-") as folder,
        running_cluster(Path(folder) / "slurm", nodes=2) as cluster,
    ):
        seen = []
        for place in places:
            found = endure(cluster, Path(folder) / place, place, seconds)
            figures = {**found.figures, "is_sound": found.is_sound}
            print("" if found.is_sound else found.log, json.dumps(figures), flush=True)
            seen.append(found)
    return 0 if all(found.is_sound for found in seen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
