"""Waiting out what the site does to a run: a full disk, a quota, a server that is away.

A grid point must not lose its attempts to a disk that is full for a minute. The run keeps its
device and its place, says what it waits for, and tries again from its last evaluation point.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from agent.errors import Fault, fault_of, one_line

LIMIT_VARIABLE = "SWEEP_AGENT_SITE_WAIT_S"
LIMIT_S = 1800.0  # then the run ends without a charge and says why
FIRST_S, LONGEST_S = 5.0, 60.0  # between two tries
TICK_S = 0.5

T = TypeVar("T")


def site_limit_s(environment: Mapping[str, str] = os.environ) -> float:
    """How long the site's faults are waited out, by the environment or the default."""
    return float(environment.get(LIMIT_VARIABLE) or LIMIT_S)


class Patience:
    """One run's. `check` is called twice a second while it waits; it raises when a signal came."""

    def __init__(
        self,
        check: Callable[[], None],
        *,
        limit_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s if limit_s is not None else site_limit_s()
        self._check, self._sleep, self._clock = check, sleep, clock
        self._since: float | None = None
        self._last_at = 0.0
        self._wait_s = FIRST_S

    def outlast(self, error: BaseException) -> None:
        """Wait a moment before the next try. Raises `error` itself when waiting cannot help, or
        when nothing has worked for longer than the limit.
        """
        if fault_of(error) is not Fault.SITE:
            raise error
        now = self._clock()
        if self._since is None or now - self._last_at > 2 * LONGEST_S:  # it had worked again
            self._since, self._wait_s = now, FIRST_S
        if now - self._since >= self._limit_s:
            raise error
        print(
            f"waiting for the site: {one_line(error)}; again in {self._wait_s:g} s, for at most "
            f"{(self._limit_s - (now - self._since)) / 60:.0f} min more",
            flush=True,
        )
        until = now + self._wait_s
        while self._clock() < until:
            self._check()
            self._sleep(TICK_S)
        self._wait_s = min(self._wait_s * 1.5, LONGEST_S)
        self._last_at = self._clock()

    def keep_trying(self, action: Callable[[], T]) -> T:
        """The result of `action`, tried again for as long as the site is at fault."""
        while True:
            try:
                return action()
            except Exception as error:
                self.outlast(error)
