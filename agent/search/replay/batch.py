"""The paired comparison on a finished stratum for many orders of arrival at once.

Who gives whom a reason to stop, at which rung, is the same for every order; only who has been
there by then differs. So the comparisons are made once per stratum, and the orders are played as
arrays. `policies.Paired` asks `paired_test.judge` itself; a test holds the two to the same result.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from agent.search.paired_test import Rule, is_past_its_rise
from agent.search.replay.curves import Stratum
from agent.search.significance import level_per_rival, p_values
from agent.search.trend import trend

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

WAITING, RUNNING, PRUNED, COMPLETE = range(4)


@lru_cache(maxsize=512)
def reasons(stratum: Stratum, rule: Rule) -> Flags:
    """Shape (runs, rungs, runs): whether, at a rung, the first run stops because of the second."""
    curves, runs = stratum.curves, len(stratum.curves)
    found = np.zeros((runs, stratum.rungs, runs), dtype=bool)
    for rung in range(rule.first, stratum.rungs):
        level = level_per_rival(rule.level_at(rung), runs - 1)
        values = np.stack([curve.values[rung - 1] for curve in curves])
        for i, curve in enumerate(curves):
            own = trend(curve.scores[:rung], stratum.rungs - rung, from_nothing=rule.from_nothing)
            if not is_past_its_rise(own, rung, rule):
                continue
            gaps = values - values[i]
            stop = (gaps.mean(axis=1) > 0) & (p_values(gaps) <= level)
            stop[stop] = p_values(gaps[stop] - rule.hope * own.gains) <= rule.doubt
            found[i, rung - 1] = stop
    return found


def trained_rungs(why: Flags, first: int, orders: Counts, workers: int) -> Counts:
    """Rungs trained, shape (orders, runs), when runs are judged by the reasons `why` from rung
    `first` on; `orders` holds a permutation of the runs per row."""
    play = _Play(why, first, orders, workers)
    while play.step():
        pass
    return play.trained


class _Play:
    """All orders of one stratum in lock-step, as `simulation.run_in_steps` plays one."""

    def __init__(self, why: Flags, first: int, orders: Counts, workers: int) -> None:
        self._why, self._first, self._workers = why, first, workers
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
            self._judge(turn, running[np.arange(len(turn)), turn])
        return True

    def _judge(self, runs: Counts, running: Flags) -> None:
        """Judge one run per order, where `running` says that it has just trained."""
        rungs = self._why.shape[1]
        cases = np.flatnonzero(running)
        runs = runs[cases]
        done = self.trained[cases, runs] == rungs
        self._state[cases[done], runs[done]] = COMPLETE
        cases, runs = cases[~done], runs[~done]
        state, trained = self._state[cases], self.trained[cases]
        out = state >= PRUNED
        needed = np.minimum(
            (state == RUNNING).sum(axis=1), np.maximum(1, state.shape[1] - out.sum(axis=1))
        )
        stops = np.zeros(len(cases), dtype=bool)
        for rung in range(self._first, rungs):
            there = trained >= rung
            present = (there | (state == PRUNED)).sum(axis=1)
            judged = (present >= needed) & there[np.arange(len(cases)), runs]
            stops |= judged & (self._why[runs, rung - 1] & there).any(axis=1)
        in_race = (state == RUNNING) | (state == COMPLETE)
        stops &= in_race.sum(axis=1) > 1
        self._state[cases[stops], runs[stops]] = PRUNED
