"""One worker of a task: the sweeps in order, on its own GPUs, one process at a time."""

import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from agent.cluster import processes
from agent.cluster.claims import Claim, ClaimFile, RunState, claim_of, takes_back
from agent.cluster.processes import GridPointProcess
from agent.cluster.work import Work
from agent.errors import ClusterError

MAX_STARTS = 6  # of an agent on one sweep, counted anew whenever it got a grid point
MAX_ATTEMPTS = 3  # of one grid point that was cut off
LOOK_AGAIN_S = 30.0  # at a run whose process has died but which the server still thinks alive

MakeWork = Callable[[str], Work]
MakePointWork = Callable[[Claim], Work]
ReadStates = Callable[[str, list[str]], dict[str, RunState]]


def backoff_s(starts: int) -> float:
    """Before an agent that failed is started again: 5, 10, 20, … at most 120 s."""
    return float(min(5 * 2 ** max(starts - 1, 0), 120))


class Worker:
    """Call `step` now and then until `done`. It never blocks for long, sleeps nowhere."""

    def __init__(
        self,
        name: str,
        sweeps: Iterable[str],
        claims: ClaimFile,
        *,
        agent_work: MakeWork,
        point_work: MakePointWork,
        read_states: ReadStates,
        server_hands_out_crashed: bool,
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.failed: list[str] = []
        self._claims = claims
        self._agent_work, self._point_work = agent_work, point_work
        self._read_states = read_states
        self._server_hands_out_crashed = server_hands_out_crashed
        self._say = say
        self._sweeps = deque(sweeps)
        self._cut_off: deque[Claim] = deque()
        self._work: Work | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, GridPointProcess] = {}
        self._starts = 0
        self._not_before = 0.0
        self._died_here: set[str] = set()
        self._unclear: list[Claim] = []  # their processes are gone, the server has not noticed yet
        self._look_for_cut_off(claims.open_claims())

    # ------------------------------------------------------------------ life
    @property
    def done(self) -> bool:
        waiting = self._cut_off or self._sweeps or self._unclear
        return self._process is None and not waiting

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def step(self, now: float) -> None:
        """Start what is due, remember what runs, go on when something has ended."""
        if self._process is None:
            if not self.done and now >= self._not_before:
                self._start_next(now)
            return
        self._remember_grid_points()
        code = self._process.poll()
        if code is None or self.running_grid_points():
            return  # a killed agent's grid point is still good work: wait for it
        self._process = None
        self._ended(code, now)

    def running_grid_points(self) -> list[GridPointProcess]:
        """Those that live, with or without their agent."""
        return [point for pid, point in self._seen.items() if processes.is_running(pid)]

    def freeze(self) -> None:
        """Take no new grid points from now on."""
        if self._process is not None and self._work is not None:
            self._work.freeze(self._process.pid)

    def tell(self, number: signal.Signals, told: set[int]) -> None:
        """Signal every running grid point that is not in `told` yet."""
        if self._process is not None:
            self._remember_grid_points()
        for point in self.running_grid_points():
            if point.pid not in told and processes.send(point.pid, number):
                told.add(point.pid)
                self._say(f"{self.name}: {number.name} to run {point.run_id}")

    def kill(self) -> None:
        """End whatever is left of the agent and its helpers."""
        if self._process is None:
            return
        for pid in [self._process.pid, *processes.descendants_of(self._process.pid)]:
            processes.send(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    # ------------------------------------------------------------------ inside
    def _start_next(self, now: float) -> None:
        if not self._cut_off and not self._sweeps:
            self._look_for_cut_off(self._unclear, now)
            return
        try:
            self._work = self._next_work()
            self._say(f"{self.name}: {self._work.label}")
            self._seen = {}
            self._process = self._work.start()
        except (ClusterError, OSError) as error:  # server not there (yet), or the code is gone
            self._say(f"{self.name}: cannot start: {error}")
            self._not_before = now + backoff_s(self._starts)
            if self._sweeps and self._starts >= MAX_STARTS:
                self._give_up_sweep()

    def _next_work(self) -> Work:
        if self._cut_off:
            claim = self._cut_off.popleft()
            again = replace(claim, attempts=claim.attempts + 1)
            self._claims.add(again)
            return self._point_work(again)
        self._starts += 1
        return self._agent_work(self._sweeps[0])

    def _remember_grid_points(self) -> None:
        if self._process is None or self._work is None:
            return
        for point in self._work.grid_points(self._process.pid):
            if point.pid in self._seen:
                continue
            self._seen[point.pid] = point
            self._starts = min(self._starts, 1)
            if point.run_id not in self._claims:
                self._claims.add(claim_of(point, self._work.sweep))

    def _ended(self, code: int, now: float) -> None:
        work = self._work
        assert work is not None
        how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        self._say(f"{self.name}: {work.label} ended, {how}")
        self._died_here.update(point.run_id for point in self._seen.values())
        if work.is_agent and code:
            if self._starts >= MAX_STARTS:
                self._give_up_sweep()
            else:
                self._not_before = now + backoff_s(self._starts)
            return
        if work.is_agent:
            self._sweeps.popleft()
            self._starts = 0
        self._look_for_cut_off(self._claims.open_claims(work.sweep), now)

    def _give_up_sweep(self) -> None:
        sweep = self._sweeps.popleft()
        self._say(f"{self.name}: giving up on {sweep} after {self._starts} starts")
        self._starts = 0
        self.failed.append(sweep)

    def _look_for_cut_off(self, claims: list[Claim], now: float = 0.0) -> None:
        """Ask the server about grid points that have no process here any more."""
        self._unclear = []
        for sweep in dict.fromkeys(claim.sweep for claim in claims):
            mine = [claim for claim in claims if claim.sweep == sweep]
            states = self._read_states(sweep, [claim.run_id for claim in mine])
            for claim in mine:
                found = states.get(claim.run_id)
                if takes_back(
                    claim,
                    found,
                    server_hands_out_crashed=self._server_hands_out_crashed,
                    max_attempts=MAX_ATTEMPTS,
                ):
                    self._cut_off.append(claim)
                elif found is None:
                    continue  # the server cannot be asked: keep the claim for the next life
                elif found.state != "running" or claim.attempts >= MAX_ATTEMPTS:
                    self._claims.drop([claim.run_id])
                elif claim.run_id in self._died_here:
                    self._unclear.append(claim)
        self._not_before = now + LOOK_AGAIN_S if self._unclear and not self._sweeps else 0.0
