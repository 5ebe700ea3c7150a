"""Work from a list of grid points on the shared file system, which needs no server."""

import math
from collections.abc import Callable

from agent.cluster.claims import Claim
from agent.cluster.job.sweep_source import site_words
from agent.cluster.job.workload import Work
from agent.cluster.point_queue import PointList
from agent.cluster.processes import GridPointProcess
from agent.errors import Fault

PREEMPTED = 75  # exit status of train.py after USR2


MAX_STARTS = 6
RETRY_S = 10.0


class PointSource:
    """One worker's share of a list of points."""

    def __init__(
        self,
        points: PointList,
        task: str,
        *,
        point_work: Callable[[Claim], Work],
        is_alive: Callable[[str], bool],
    ) -> None:
        self.left: list[str] = []  # a list ends
        self.failed: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.is_site_at_fault = False
        self._points, self._task = points, task
        self._point_work, self._is_alive = point_work, is_alive
        self._done = False
        self._starts = 0  # in vain, one after the other
        self._not_before = 0.0

    @property
    def done(self) -> bool:
        return self._done

    def next_work(self, now: float) -> Work | None:
        if now < self._not_before:
            return None
        claim = self._points.take(self._task, self._is_alive)
        if claim is not None:
            return self._point_work(claim)
        # Others still run points. Waiting for them would hold a GPU for nothing: leave.
        self._done = True
        return None

    def not_started(self, now: float) -> None:
        """Once more in a moment: a disk may have been full."""
        self._starts += 1
        self._not_before = now + RETRY_S
        if self._starts >= MAX_STARTS:
            self.failed.append("a point that cannot be started")
            self._done = True

    def seen(self, _point: GridPointProcess, _work: Work) -> None:
        """Taken already, before it was started."""

    def idle_limit_s(self) -> float:
        return math.inf

    def idle(self, _now: float) -> None:
        """There is no agent here that could idle."""

    def ended(self, work: Work, code: int, _points: list[GridPointProcess], _now: float) -> None:
        run_id = work.run_id
        self._starts = 0
        if code in (PREEMPTED, Fault.SITE.exit_status):
            self._points.release(run_id)
            if code != PREEMPTED:  # it has waited as long as it may
                self.is_site_at_fault = self._done = True
                self.failed.append(site_words(run_id))
        elif code < 0:
            return  # killed: still ours, and taken again until its attempts are used up
        else:
            self._points.finish(run_id, "done" if code == 0 else "failed")
            self.outcomes[run_id] = "finished" if code == 0 else "failed"
