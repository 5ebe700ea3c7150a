"""Work from sweeps: a `wandb agent` on one after the other, and before it what was cut off."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from agent.cluster.claims import Claim, ClaimFile, claim_of, takes_back
from agent.cluster.job.workload import Work
from agent.cluster.processes import GridPointProcess
from agent.errors import NOT_INSTALLED, Fault, TrackingError
from agent.tracking.first_commands import FirstCommands, Newcomer
from agent.tracking.login import Login
from agent.tracking.patience import LIMIT_S
from agent.tracking.run_states import RunState

MAX_STARTS = 6  # of an agent on one sweep, counted anew whenever it got a grid point
MAX_ATTEMPTS = 3  # of one grid point that was cut off
IDLE_S = 30.0  # without a grid point: more than an agent's start and some of its 5 s polls
# The embedded server ends agents that it has no use for, so that one that waits is there for the
# claim of an agent that fell silent, whose lease is 300 s. W&B's cloud never says so.
WAIT_S = {"embedded": 360.0, "cloud": 120.0}
AWAY_S = 10.0  # between two tries while the server is away
ASK_EVERY_S = 5.0  # for the first point of an agent, as wandb's agent asks
LOOK_AGAIN_S = 30.0  # at a run whose process has died but which the server still thinks alive

ReadStates = Callable[[str, list[str]], dict[str, RunState]]


def backoff_s(starts: int) -> float:
    """Before an agent that failed is started again: 5, 10, 20, … at most 120 s."""
    return float(min(5 * 2 ** max(starts - 1, 0), 120))


def site_words(run_id: str) -> str:
    """What a task says that ends because a run's patience with the site has ended."""
    return f"run {run_id} met a fault of the site that lasted (disk, quota, permission or network)"


class SweepSource:
    """The sweeps of one worker, in order."""

    def __init__(
        self,
        sweeps: Iterable[str],
        claims: ClaimFile,
        *,
        agent_work: Callable[[str, FirstCommands | None], Work],
        point_work: Callable[[Claim], Work],
        read_states: ReadStates,
        server_hands_out_crashed: bool,
        ask: Callable[[Newcomer], FirstCommands] | None = None,
        say: Callable[[str], None] = lambda _text: None,
        idle_limit_s: float | None = None,
        login: Callable[[], Login] = lambda: Login("", ""),
        site_limit_s: float = LIMIT_S,
    ) -> None:
        """With `ask` an agent is started when the server has work for it; without, it asks itself.
        `idle_limit_s` is how long the task waits for a point before it leaves. `login`
        asks whether the server answers and knows the key.
        """
        self.failed: list[str] = []
        self.left: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.is_site_at_fault = False
        self._login = login
        self._site_limit_s = site_limit_s
        self._away_since: float | None = None  # the server
        self._sweeps = deque(sweeps)
        self._claims = claims
        self._agent_work, self._point_work = agent_work, point_work
        self._ask, self._say = ask, say
        self._newcomers: dict[str, Newcomer] = {}  # by sweep: agents without a point so far
        self._waiting_since: float | None = None  # of the first sweep's
        self._read_states = read_states
        self._server_hands_out_crashed = server_hands_out_crashed
        kind = "embedded" if server_hands_out_crashed else "cloud"
        self._wait_s = WAIT_S[kind] if idle_limit_s is None else idle_limit_s
        self._is_new_life = True  # of the task: what its claims name has no process here
        self._cut_off: deque[Claim] = deque()
        self._unclear: list[Claim] = []  # their processes are gone, the server does not know yet
        self._died_here: set[str] = set()
        self._starts = 0
        self._fruitless = 0  # sweeps left one after the other because they had nothing to do
        self._not_before = 0.0
        self._look_for_cut_off(claims.open_claims(), 0.0)
        self._is_new_life = False

    @property
    def done(self) -> bool:
        return not (self._cut_off or self._sweeps or self._unclear)

    def next_work(self, now: float) -> Work | None:
        while now >= self._not_before and not self.done:
            if not self._cut_off and not self._sweeps:
                self._look_for_cut_off(self._unclear, now)
            if self._cut_off:
                claim = self._cut_off.popleft()
                again = replace(claim, attempts=claim.attempts + 1)
                self._claims.add(again)
                return self._point_work(again)
            if self._sweeps and (work := self._next_agent(self._sweeps[0], now)):
                return work
        return None

    def not_started(self, now: float) -> None:
        self._try_again_or_give_up(now)

    def seen(self, point: GridPointProcess, work: Work) -> None:
        self._starts = min(self._starts, 1)
        self._fruitless = 0
        self._away_since = None
        if point.run_id not in self._claims:
            self._claims.add(claim_of(point, work.sweep))

    def idle_limit_s(self) -> float:
        """Short while another sweep may have work, longer at the last of a fruitless round."""
        is_last = self._fruitless + 1 >= len(self._sweeps)
        return self._wait_s if is_last else min(IDLE_S, self._wait_s)

    def idle(self, now: float) -> None:
        """Go on to the next sweep, or leave after a round in which none had a point: a claim that
        comes back later finds the agent that held it, or the requeued task."""
        self._starts = 0
        self._waiting_since = None
        self._fruitless += 1
        self._not_before = now
        if self._fruitless >= len(self._sweeps):
            self.left += [
                f"{sweep} had no grid point for {self._wait_s:g} s" for sweep in self._sweeps
            ]
            self._sweeps.clear()
        else:
            self._sweeps.rotate(-1)

    def ended(self, work: Work, code: int, points: list[GridPointProcess], now: float) -> None:
        self._died_here.update(point.run_id for point in points)
        if code == Fault.SITE.exit_status:
            self._give_up_on_site(points[-1].run_id if points else work.run_id, work.sweep)
            return
        if work.is_agent and code == NOT_INSTALLED:
            self.failed.append(f"{work.sweep}: its program ends before it reaches W&B")
            self._is_through(now)
            return
        if work.is_agent and code:
            self._try_again_or_give_up(now)
            return
        if work.is_agent:
            self._is_through(now)
        else:
            self._look_for_cut_off(self._claims.open_claims(work.sweep), now)

    # ------------------------------------------------------------------ inside
    def _next_agent(self, sweep: str, now: float) -> Work | None:
        """An agent for the first sweep. None when it has no work, and is left or asked again."""
        self._starts += 1
        first = self._first_commands(sweep)
        if first is None or (first.commands and not first.is_exit):
            self._newcomers.pop(sweep, None)
            self._waiting_since = None
            return self._agent_work(sweep, first)
        self._away_since = None
        if first.is_exit:
            self._say(f"{sweep} has no grid point for one more agent")
            self._is_through(now)
            return None
        self._starts = 0
        self._not_before = now + ASK_EVERY_S
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        limit_s = self.idle_limit_s()
        if now - self._waiting_since > limit_s:
            self._say(f"{sweep} has had no grid point for {limit_s:g} s; leaving it")
            self.idle(now)
        return None

    def _first_commands(self, sweep: str) -> FirstCommands | None:
        """None where wandb's agent has to find out by itself, and to say so."""
        if self._ask is None:
            return None
        try:
            return self._ask(self._newcomers.setdefault(sweep, Newcomer(sweep)))
        except (ValueError, KeyError, TypeError, TrackingError):
            return None

    def _is_through(self, now: float) -> None:
        """No point of the first sweep is left for this task but those it was cut off from."""
        sweep = self._sweeps.popleft()
        self._newcomers.pop(sweep, None)
        self._waiting_since = None
        self._starts = 0
        self._look_for_cut_off(self._claims.open_claims(sweep), now)

    def _give_up_on_site(self, run_id: str, sweep: str) -> None:
        """A run has waited for the site as long as it may, and handed its point back uncharged: the
        next one would hold the device for as long again.
        """
        self._leave_for_site(f"{sweep}: {site_words(run_id)}")
        self._claims.drop([claim.run_id for claim in self._claims.open_claims()])

    def _leave_for_site(self, reason: str) -> None:
        self.is_site_at_fault = True
        self.failed.append(reason)
        self._give_up()

    def _give_up(self) -> None:
        self._sweeps.clear()
        self._cut_off.clear()
        self._unclear = []

    def _try_again_or_give_up(self, now: float) -> None:
        login = self._login()
        if login.problem and login.is_reachable:  # a key that was revoked: no try changes it
            self.failed.append(login.problem)
            self._give_up()
            return
        if login.problem:
            self._wait_for_server(now, login.problem)
            return
        self._away_since = None
        self._not_before = now + backoff_s(self._starts)
        if self._sweeps and self._starts >= MAX_STARTS:
            self.failed.append(self._sweeps.popleft())
            self._starts = 0

    def _wait_for_server(self, now: float, problem: str) -> None:
        """A server that is away is the site's fault: no start is counted, for as long as one may be
        waited for.
        """
        self._starts = 0
        self._not_before = now + AWAY_S
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since >= self._site_limit_s:
            self._leave_for_site(f"{self._sweeps[0] if self._sweeps else 'its runs'}: {problem}")

    def _look_for_cut_off(self, claims: list[Claim], now: float) -> None:
        """Ask the server about grid points that have no process here any more."""
        self._unclear = []
        for sweep in dict.fromkeys(claim.sweep for claim in claims):
            mine = [claim for claim in claims if claim.sweep == sweep]
            states = self._read_states(sweep, [claim.run_id for claim in mine])
            for claim in mine:
                self._settle(claim, states.get(claim.run_id))
        if self._unclear and not self._sweeps:
            self._not_before = now + LOOK_AGAIN_S

    def _settle(self, claim: Claim, found: RunState | None) -> None:
        if found is not None:
            self.outcomes[claim.run_id] = found.state
        if takes_back(
            claim,
            found,
            server_hands_out_crashed=self._server_hands_out_crashed,
            max_attempts=MAX_ATTEMPTS,
            is_ours_alone=self._is_new_life and not self._claims.is_held_elsewhere(claim.run_id),
        ):
            self._cut_off.append(claim)
        elif found is None:
            return  # the server cannot be asked: keep the claim for the next life
        elif found.state != "running" or claim.attempts >= MAX_ATTEMPTS:
            self._claims.drop([claim.run_id])
        elif claim.run_id in self._died_here:
            self._unclear.append(claim)
