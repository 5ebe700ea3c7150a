"""What this project has sent to Slurm and how its tasks lived: records on shared storage.

Slurm forgets a job minutes after its end unless the site keeps accounts, so that `status` would
have nothing to say about a task that died. One file a job, and one for each life of a task.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent import files


@dataclass(frozen=True)
class JobRecord:
    """One array job as it was submitted."""

    job: str
    sweeps: tuple[str, ...]
    tasks: tuple[int, ...]  # ids of the array
    log: str  # pattern with %A and %a
    script: str
    submitted_at: float  # seconds since the epoch

    def log_of(self, task: int) -> Path:
        return Path(self.log.replace("%A", self.job).replace("%a", str(task)))


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


def allocated_hours(lives: Iterable[TaskLife]) -> float:
    """GPU hours that tasks held; a task without a GPU counts as one."""
    return sum(life.lasted_s * max(life.gpus, 1) for life in lives) / 3600


def ended(life: TaskLife, now: float, status: int, reason: str) -> TaskLife:
    return replace(life, ended_at=now, seen_at=now, status=status, reason=reason)


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
