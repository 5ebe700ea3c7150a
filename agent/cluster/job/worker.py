"""One worker of a task: one process at a time, on its own GPUs, from whatever hands out work."""

import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Protocol

from agent.cluster import processes
from agent.cluster.job.workload import Work
from agent.cluster.processes import GridPointProcess
from agent.errors import ClusterError, one_line
from agent.tracking.patience import LIMIT_S

SITE_EVERY_S = 1.0


class Source(Protocol):
    """Where a worker's work comes from."""

    @property
    def done(self) -> bool:
        """True when no more work will come."""
        ...

    @property
    def failed(self) -> list[str]:
        """What had to be given up, in words."""
        ...

    @property
    def left(self) -> list[str]:
        """Why it ended before its sweeps did, in words; nothing is wrong."""
        ...

    @property
    def is_site_at_fault(self) -> bool:
        """Whether something had to be given up because the site's fault lasted."""
        ...

    @property
    def outcomes(self) -> Mapping[str, str]:
        """The runs that have ended here and W&B's word for how."""
        ...

    def next_work(self, now: float, /) -> Work | None:
        """What to start now; None when nothing is due yet. ClusterError when it cannot be made."""
        ...

    def not_started(self, now: float, /) -> None:
        """The work could not be made or started."""
        ...

    def seen(self, point: GridPointProcess, work: Work, /) -> None:
        """A grid point has begun to run."""
        ...

    def idle_limit_s(self) -> float:
        """How long an agent may go without a grid point before it counts as idle."""
        ...

    def idle(self, now: float, /) -> None:
        """The agent got nothing for that long, and has been ended."""
        ...

    def ended(self, work: Work, code: int, points: list[GridPointProcess], now: float, /) -> None:
        """The work's process has ended, and so have all the grid points that it ran."""
        ...


class Worker:
    """Call `step` now and then until `done`. It never blocks for long and sleeps nowhere."""

    def __init__(
        self,
        name: str,
        source: Source,
        say: Callable[[str], None],
        check_site: Callable[[], None] = lambda: None,
        *,
        site_limit_s: float = LIMIT_S,
    ) -> None:
        """`check_site` raises OSError while the shared disk takes no data: no grid point is taken
        then, because its attempts would be lost one after the other. After `site_limit_s` of it
        the worker gives up.
        """
        self.name = name
        self._check_site = check_site
        self._site_limit_s = site_limit_s
        self._site_since: float | None = None  # the first look that failed
        self._gave_up = ""  # on the site, in words
        self._site_at = 0.0  # when it was looked at last
        self._site_error = ""
        self._source = source
        self._say = say
        self._work: Work | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, GridPointProcess] = {}
        self._busy_at = 0.0

    @property
    def done(self) -> bool:
        return self._process is None and (bool(self._gave_up) or self._source.done)

    @property
    def failed(self) -> list[str]:
        return [*self._source.failed, *filter(None, [self._gave_up])]

    @property
    def is_site_at_fault(self) -> bool:
        return bool(self._gave_up) or self._source.is_site_at_fault

    @property
    def left(self) -> list[str]:
        return self._source.left

    @property
    def outcomes(self) -> Mapping[str, str]:
        return self._source.outcomes

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def step(self, now: float) -> None:
        """Start what is due, note what runs, go on when something has ended."""
        if self._process is None:
            if not self._gave_up and self._is_site_ready(now):
                self._start(now)
            return
        self._look_for_grid_points()
        assert self._work is not None
        code = self._process.poll()
        if self.running_grid_points():
            self._busy_at = now
            return  # a killed agent's grid point, too, is still good work: wait for it
        was_frozen = bool(self._site_error)
        if not self._is_site_ready(now):
            if self._gave_up:
                self.kill()  # without a run: those wait by themselves
            self.freeze()
            self._busy_at = now
            return  # what has ended is settled when its end can be written down
        if was_frozen:
            self.resume()
        if code is None:
            if self._work.is_agent and now - self._busy_at > self._source.idle_limit_s():
                self._leave_idle_agent(now)
            return
        how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        try:
            self._source.ended(self._work, code, list(self._seen.values()), now)
        except OSError as error:  # the disk has just become full: once more when it has room
            self._site_error, self._site_at = one_line(error), now
            return
        self._say(f"{self.name}: {self._work.label} ended, {how}")
        self._process = None
        self._start(now)

    def running_grid_points(self) -> list[GridPointProcess]:
        """Those that live, with or without their agent."""
        return [point for pid, point in self._seen.items() if processes.is_running(pid)]

    def freeze(self) -> None:
        """Take no new grid points from now on."""
        if self._process is not None and self._work is not None:
            self._work.freeze(self._process.pid)

    def resume(self) -> None:
        """Take grid points again."""
        if self._process is not None:
            processes.send(self._process.pid, signal.SIGCONT)

    def tell(self, number: signal.Signals, signalled: dict[int, GridPointProcess]) -> None:
        """Signal every running grid point that is not in `signalled` yet."""
        self._look_for_grid_points()
        for point in self.running_grid_points():
            if point.pid not in signalled and processes.send(point.pid, number):
                signalled[point.pid] = point
                self._say(f"{self.name}: {number.name} to run {point.run_id}")

    def kill(self) -> None:
        """End whatever is left of the process and its helpers."""
        if self._process is None or self._work is None:
            return
        self._look_for_grid_points()
        is_alive = self._process.poll() is None  # else what it began may live on unseen
        for pid in [self._process.pid, *processes.descendants_of(self._process.pid)]:
            processes.send(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        if is_alive and not self._seen:
            self._work.hand_back()

    def start_anew(self, now: float) -> None:
        """End what runs, as if it had failed; it is started again in a moment."""
        if self._process is None or self._work is None:
            return
        self.kill()
        self._source.ended(self._work, -signal.SIGKILL, list(self._seen.values()), now)

    # ------------------------------------------------------------------ inside
    def _is_site_ready(self, now: float) -> bool:
        """Looks once a second at most; says when it begins to wait and when it goes on."""
        if 0 <= now - self._site_at < SITE_EVERY_S:
            return not self._site_error
        self._site_at = now
        try:
            self._check_site()
        except OSError as error:
            if not self._site_error:
                self._say(f"{self.name}: waiting for the site: {one_line(error)}")
            self._site_error = one_line(error)
            self._site_since = now if self._site_since is None else self._site_since
            if now - self._site_since >= self._site_limit_s:
                self._gave_up = (
                    f"the site, after {self._site_limit_s / 60:g} min: {one_line(error)}"
                )
            return False
        self._site_since = None
        if self._site_error:
            self._say(f"{self.name}: the site is back: {self._site_error}")
        self._site_error = ""
        return True

    def _start(self, now: float) -> None:
        if self._source.done:
            return
        try:
            work = self._source.next_work(now)
            if work is None:
                return
            self._say(f"{self.name}: {work.label}")
            self._work, self._seen, self._busy_at = work, {}, now
            try:
                self._process = work.start()
            except OSError:
                work.hand_back()
                raise
        except (ClusterError, OSError) as error:  # server not there (yet), or the code is gone
            self._say(f"{self.name}: cannot start: {error}")
            self._source.not_started(now)

    def _leave_idle_agent(self, now: float) -> None:
        """The other agents of this sweep have all of its points; a GPU must not wait for them."""
        self.freeze()
        self._look_for_grid_points()
        if self.running_grid_points() or self._work is None:
            self.resume()  # it has just got one
            return
        self._say(
            f"{self.name}: {self._work.label} has had no grid point for "
            f"{self._source.idle_limit_s():g} s; leaving it"
        )
        self.kill()
        self._source.idle(now)

    def _look_for_grid_points(self) -> None:
        if self._process is None or self._work is None:
            return
        for point in self._work.grid_points(self._process.pid):
            if point.pid not in self._seen:
                self._seen[point.pid] = point
                if self._work.is_agent:  # where the log of this run begins, for `logs`
                    self._say(f"{self.name}: run {point.run_id} of {self._work.sweep}")
                self._source.seen(point, self._work)
