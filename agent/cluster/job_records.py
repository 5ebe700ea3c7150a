"""What this project has sent to Slurm and how its tasks lived: records on shared storage.

Slurm forgets a job minutes after its end unless the site keeps accounts, so that `status` would
have nothing to say about a task that died. One file a job, and one for each life of a task.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent import files
from agent.cluster import slurm

SILENT_S = 90.0  # a live task writes its record every 20 s


@dataclass(frozen=True)
class JobRecord:
    """One array job as it was submitted."""

    job: str
    sweeps: tuple[str, ...]
    tasks: tuple[int, ...]  # ids of the array
    log: str  # pattern with %A and %a
    script: str
    submitted_at: float  # seconds since the epoch
    choices: Mapping[str, object] | None = None  # options that are no defaults; None: not recorded

    def log_of(self, task: int) -> Path:
        return Path(slurm.log_path(self.log, self.job, task))


@dataclass(frozen=True)
class TaskLife:
    """From a start of a task to its end; times are seconds since the epoch."""

    task: str  # 12_3
    restart: int
    node: str
    gpus: int
    started_at: float
    seen_at: float  # a task says every half minute that it lives
    ended_at: float = 0.0  # 0 while it lives, or when it was cut off
    status: int = 0
    reason: str = ""
    busy_s: float = 0.0  # with a run alive, summed over the task's agents and divided by them

    @property
    def lasted_s(self) -> float:
        return (self.ended_at or self.seen_at) - self.started_at


class JobRecords:
    """The records below one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "jobs"

    def save(self, record: JobRecord) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        files.write_json(self.directory / f"{record.job}.json", asdict(record))

    def find(self, job: str) -> JobRecord | None:
        row = _read(self.directory / f"{job}.json")
        try:
            lists = {name: tuple(row[name]) for name in ("sweeps", "tasks")} if row else {}
            return JobRecord(**{**row, **lists}) if row else None
        except (TypeError, KeyError):
            return None

    def all_logs(self) -> list[Path]:
        """Of every task of every job, the newest job first; those that exist."""
        names = (path.stem for path in self.directory.glob("*.json"))
        jobs = [job for name in names if name.isdigit() and (job := self.find(name))]
        jobs.sort(key=lambda job: job.submitted_at, reverse=True)
        return [log for job in jobs for task in job.tasks if (log := job.log_of(task)).is_file()]

    def save_life(self, life: TaskLife) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        files.write_json(self.directory / f"{life.task}.life-{life.restart}.json", asdict(life))

    def lives_of(self, job: str) -> list[TaskLife]:
        """All lives of the tasks of a job, by task and restart."""
        rows = [_read(path) for path in self.directory.glob(f"{job}_*.life-*.json")]
        lives = []
        for row in rows:
            try:
                lives.append(TaskLife(**row))
            except TypeError:
                continue
        return sorted(lives, key=lambda life: (int(life.task.rpartition("_")[2]), life.restart))


def allocated_hours(lives: Iterable[TaskLife], now: float) -> float:
    """GPU hours that tasks have held until now; a task without a GPU counts as one."""
    seconds = 0.0
    for life in lives:
        is_alive = not life.ended_at and now - life.seen_at <= SILENT_S
        lasted_s = now - life.started_at if is_alive else life.lasted_s
        seconds += lasted_s * max(life.gpus, 1)
    return seconds / 3600


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The end of a log; nothing when there is none."""
    if not log.name:
        return []
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip() for line in deque(file, maxlen=count)]
    except OSError as error:
        return [f"({log.name} cannot be read: {error.strerror})"]


def ended(life: TaskLife, now: float, status: int, reason: str) -> TaskLife:
    return replace(life, ended_at=now, seen_at=now, status=status, reason=reason)


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
