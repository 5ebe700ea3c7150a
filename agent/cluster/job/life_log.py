"""What a task writes about itself while it lives, for `status` and for readers of the log."""

import dataclasses
from collections.abc import Callable

from agent.cluster.job_records import JobRecords, TaskLife, ended

SEEN_EVERY_S = 20.0


class LifeLog:
    """One life of one task. A record that cannot be written is said once and never fatal."""

    def __init__(self, records: JobRecords, life: TaskLife, say: Callable[[str], None]) -> None:
        self._records, self._life, self._say = records, life, say
        self._tick_at = life.started_at
        self._written_at = 0.0
        self._is_mute = False
        self._write(life.started_at)

    def tick(self, now: float, busy_share: float) -> None:
        """`busy_share` of the task's agents had a run alive since the last tick."""
        busy_s = self._life.busy_s + busy_share * max(now - self._tick_at, 0.0)
        self._tick_at = now
        self._life = dataclasses.replace(self._life, busy_s=busy_s, seen_at=now)
        if now - self._written_at >= SEEN_EVERY_S:
            self._write(now)

    def end(self, now: float, status: int, reason: str) -> None:
        self._life = ended(self._life, now, status, reason)
        self._write(now)

    def _write(self, now: float) -> None:
        self._written_at = now
        try:
            self._records.save_life(self._life)
            self._is_mute = False
        except OSError as error:
            if not self._is_mute:
                self._say(f"{self._records.directory} cannot be written: {error.strerror}")
            self._is_mute = True
