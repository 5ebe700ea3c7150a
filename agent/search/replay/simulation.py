"""Workers that take grid points in some order, and a policy that stops them: in steps, no clock.

In each step every worker trains its run by one rung and reports; then the runs are judged, and
a run that ends frees its worker for the next point. That is an array job in lock-step, the normal
case; a run that is judged late, because it asks only at its next rung, is not modelled (see
`Trial.reconsider`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from agent.search.replay.curves import Stratum

# Rungs that each curve of a stratum was trained for, given the order of arrival and the workers.
Policy = Callable[[Stratum, Sequence[int], int], list[int]]


@runtime_checkable
class BatchPolicy(Protocol):
    """A policy that can play many orders of many strata of one shape at once."""

    def batch(
        self, strata: Sequence[Stratum], orders: npt.NDArray[np.int64], workers: int
    ) -> npt.NDArray[np.int64]:
        """Rungs trained, of the shape of `orders`: (strata, orders, runs)."""


class Session(Protocol):
    """What a policy that works on running runs has to answer; curves are named by their index."""

    def report(self, curve: int, rung: int) -> None: ...

    def prunes(self, curve: int) -> bool: ...

    def end(self, curve: int, *, pruned: bool) -> None: ...


def run_in_steps(
    stratum: Stratum, order: Sequence[int], workers: int, session: Session
) -> list[int]:
    """Rungs trained per curve until every point has ended."""
    waiting = list(order)
    trained = [0] * len(stratum.curves)
    running: list[int] = []
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(waiting.pop(0))
        for curve in running:
            trained[curve] += 1
            session.report(curve, trained[curve])
        for curve in list(running):
            complete = trained[curve] == stratum.rungs
            if complete or session.prunes(curve):
                session.end(curve, pruned=not complete)
                running.remove(curve)
    return trained


def chosen_run(stratum: Stratum, trained: Sequence[int]) -> int:
    """The run one would pick: the best of those at the full budget, else the best last seen."""
    curves = range(len(stratum.curves))
    ended = [curve for curve in curves if trained[curve] == stratum.rungs]
    candidates = ended or [curve for curve in curves if trained[curve]]
    return min(
        candidates,
        key=lambda i: (-stratum.curves[i].means[trained[i] - 1], stratum.curves[i].point),
    )
