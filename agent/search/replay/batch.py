"""The paired comparison on finished strata for many orders of arrival at once.

Who gives whom a reason to stop, at which rung, is the same for every order; only who has been
there by then differs. So the comparisons are made once per stratum, and the orders are played as
arrays. `policies.Paired` asks `paired_test.judge` itself; a test holds the two to the same result.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from agent.search.paired_test import Rule
from agent.search.replay.curves import Stratum
from agent.search.significance import level_per_rival, p_values
from agent.search.trend import trend

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

WAITING, RUNNING, PRUNED, COMPLETE = range(4)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every run against every other one at every rung, whatever the levels of the rule."""

    is_behind: Flags  # shape (runs, rungs, runs)
    now: Array  # p-values that the second run is not better
    hoped: Array  # the same when the first run gains what its curve forecasts
    slowing: Array  # shape (runs, rungs), see `Trend`
    rising: Array


@lru_cache(maxsize=2048)
def comparisons(stratum: Stratum, first: int, hope: float, from_nothing: bool) -> Comparisons:
    """The comparisons from rung `first` on."""
    values = np.stack([curve.values for curve in stratum.curves])
    runs, rungs = values.shape[:2]
    shape = (runs, rungs, runs)
    found = Comparisons(
        np.zeros(shape, dtype=bool),
        np.ones(shape),
        np.ones(shape),
        np.ones(shape[:2]),
        np.zeros(shape[:2]),
    )
    for rung in range(first, rungs):
        for i, curve in enumerate(stratum.curves):
            own = trend(curve.scores[:rung], rungs - rung, from_nothing=from_nothing)
            gaps = values[:, rung - 1] - values[i, rung - 1]
            found.is_behind[i, rung - 1] = gaps.mean(axis=1) > 0
            found.now[i, rung - 1] = p_values(gaps)
            found.hoped[i, rung - 1] = p_values(gaps - hope * own.gains)
            found.slowing[i, rung - 1], found.rising[i, rung - 1] = own.slowing, own.rising
    return found


def reasons(stratum: Stratum, rule: Rule) -> Flags:
    """Shape (runs, rungs, runs): whether, at a rung, the first run stops because of the second."""
    found = comparisons(stratum, rule.first, rule.hope, rule.from_nothing)
    rungs = np.arange(1, stratum.rungs + 1)
    rivals = len(stratum.curves) - 1
    levels = np.zeros(stratum.rungs)
    for rung in range(rule.first, stratum.rungs):
        levels[rung - 1] = level_per_rival(rule.level_at(rung), rivals)
    is_past = (found.slowing <= rule.slowing) | (
        (2 * rungs > rule.rungs) & (found.rising > rule.slowing)
    )
    is_hopeless = (found.now <= levels[None, :, None]) & (found.hoped <= rule.doubt)
    why: Flags = found.is_behind & is_hopeless & is_past[:, :, None]
    return why


def equals(stratum: Stratum) -> Flags:
    """Shape (runs, rungs, runs): whether, at a rung, the second run is as good as the first."""
    means = np.array([[scores.mean for scores in curve.scores] for curve in stratum.curves])
    found: Flags = means.T[None, :, :] >= means[:, :, None]
    found[np.arange(len(means)), :, np.arange(len(means))] = False
    return found


def trained_rungs(why: Flags, equal: Flags, first: int, orders: Counts, workers: int) -> Counts:
    """Rungs trained, of the shape of `orders`, when runs are judged by the reasons `why` from rung
    `first` on and kept while none in the race is their `equal`. Both have shape (strata, runs,
    rungs, runs), `orders` (strata, orders, runs), with a permutation of the runs in each row."""
    strata, count, runs = orders.shape
    which = np.repeat(np.arange(strata), count)
    play = _Play(why, equal, which, first, orders.reshape(-1, runs), workers)
    while play.step():
        pass
    return play.trained.reshape(orders.shape)


class _Play:
    """All orders of all strata in lock-step, as `simulation.run_in_steps` plays one."""

    def __init__(
        self, why: Flags, equal: Flags, which: Counts, first: int, orders: Counts, workers: int
    ) -> None:
        self._equal = equal
        self._why, self._which, self._first, self._workers = why, which, first, workers
        self._place = np.argsort(orders, axis=1)
        self._state = np.full(orders.shape, WAITING)
        self.trained: Counts = np.zeros(orders.shape, dtype=np.int64)

    def step(self) -> bool:
        """One rung for every running run, then their judgement; False when all have ended."""
        state, place = self._state, self._place
        free = self._workers - (state == RUNNING).sum(axis=1)
        started = (state != WAITING).sum(axis=1)
        state[(state == WAITING) & (place < (started + free)[:, None])] = RUNNING
        running = state == RUNNING
        if not running.any():
            return False
        self.trained[running] += 1
        turns = np.argsort(np.where(running, place, place.shape[1]), axis=1)
        for turn in turns[:, : int(running.sum(axis=1).max())].T:
            cases = np.flatnonzero(running[np.arange(len(turn)), turn])
            self._judge(cases, turn[cases])
        return True

    def _judge(self, cases: Counts, runs: Counts) -> None:
        """Judge one run, which has just trained, in each of these cases."""
        rungs = self._why.shape[2]
        done = self.trained[cases, runs] == rungs
        self._state[cases[done], runs[done]] = COMPLETE
        cases, runs = cases[~done], runs[~done]
        state, trained = self._state[cases], self.trained[cases]
        out = state >= PRUNED
        in_race = (state == RUNNING) | (state == COMPLETE)
        needed = np.minimum(
            (state == RUNNING).sum(axis=1), np.maximum(1, state.shape[1] - out.sum(axis=1))
        )
        own = trained[np.arange(len(cases)), runs]
        stops = np.zeros(len(cases), dtype=bool)
        for rung in range(self._first, int(own.max(initial=0)) + 1):
            there = trained >= rung
            present = (there | (state == PRUNED)).sum(axis=1)
            judged = (present >= needed) & (own >= rung)
            why = self._why[self._which[cases], runs, rung - 1]
            equal = self._equal[self._which[cases], runs, rung - 1]
            is_left = (equal & there & in_race).any(axis=1)
            stops |= judged & (why & there).any(axis=1) & is_left
        self._state[cases[stops], runs[stops]] = PRUNED
