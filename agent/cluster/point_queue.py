"""Grid points as a list on the shared file system, taken one by one without any server.

For compute nodes that reach no server, and to fill the holes of a sweep whose server hands them
out no more. A point is taken by creating a file that only one can create; a task that comes back
finds its own points, and those of tasks that Slurm no longer knows are taken over.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent import files
from agent.cluster.claims import Claim
from agent.errors import ClusterError

MAX_ATTEMPTS = 3  # of a point whose program was killed; preemptions are not counted


@dataclass(frozen=True)
class Taking:
    """Who has a point. `state` is running, done or failed."""

    task: str
    attempts: int
    state: str = "running"


class PointList:
    """`points.json` with the claims to make, and one file per point that a task has taken."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @staticmethod
    def create(directory: Path, points: Sequence[Claim]) -> "PointList":
        """Write the list; `directory` must not hold one yet."""
        directory.mkdir(parents=True, exist_ok=True)
        content = json.dumps([asdict(point) for point in points], indent=1) + "\n"
        if not files.create_exclusively(directory / "points.json", content):
            raise ClusterError(f"{directory} holds a list of points already")
        return PointList(directory)

    def points(self) -> list[Claim]:
        try:
            rows = json.loads((self.directory / "points.json").read_text(encoding="utf-8"))
            return [Claim(**{**row, "argv": tuple(row["argv"])}) for row in rows]
        except (OSError, ValueError, TypeError, KeyError):
            raise ClusterError(f"{self.directory} holds no list of points") from None

    def taking_of(self, run_id: str) -> Taking | None:
        try:
            return Taking(**json.loads(self._path(run_id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def take(self, task: str, is_alive: Callable[[str], bool]) -> Claim | None:
        """The next point for `task`: its own unfinished ones first, then new ones, then those of
        tasks that are no longer alive. None when there is none to take now.
        """
        points = self.points()
        takings = {point.run_id: self.taking_of(point.run_id) for point in points}
        for point in points:
            found = takings[point.run_id]
            if found is not None and found.state == "running" and found.task == task:
                return self._retake(point, found, task)
        for point in points:
            if takings[point.run_id] is None and self._create(point, Taking(task, 1)):
                return point
        for point in points:
            found = takings[point.run_id]
            orphaned = found is not None and found.state == "running" and not is_alive(found.task)
            if found is not None and orphaned and (taken := self._retake(point, found, task)):
                return taken
        return None

    def finish(self, run_id: str, state: str) -> None:
        """Note how a point ended."""
        found = self.taking_of(run_id)
        if found is not None:
            files.write_json(self._path(run_id), asdict(replace(found, state=state)))

    def release(self, run_id: str) -> None:
        """The point was interrupted: the next task to look may have it."""
        self._path(run_id).unlink(missing_ok=True)

    @property
    def unfinished(self) -> int:
        takings = [self.taking_of(point.run_id) for point in self.points()]
        return sum(found is None or found.state == "running" for found in takings)

    def _retake(self, point: Claim, found: Taking, task: str) -> Claim | None:
        """Move a stale taking aside; the process that moves it first has the point."""
        if found.attempts >= MAX_ATTEMPTS:
            self.finish(point.run_id, "failed")
            return None
        stale = self._path(point.run_id)
        try:
            stale.rename(stale.with_name(f"{stale.name}.{files.unique_suffix()}"))
        except OSError:
            return None
        again = Taking(task, found.attempts + 1)
        return point if self._create(point, again) else None

    def _create(self, point: Claim, taking: Taking) -> bool:
        return files.create_exclusively(self._path(point.run_id), json.dumps(asdict(taking)))

    def _path(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.taken"
