"""Rules that were tried for the pruner and left: they stand on the frontier for comparison.

Each gives the reasons to stop of a whole stratum, as `agent.search.replay.batch.reasons` does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr

from agent.search.replay import batch
from agent.search.replay.curves import Stratum
from agent.search.significance import p_values

Array = npt.NDArray[np.float64]
Reasons = Callable[[Stratum], batch.Flags]


@dataclass(frozen=True)
class ByReasons:
    """A policy from the reasons it gives, judged from rung `first` on."""

    reasons: Reasons
    first: int

    def __call__(self, stratum: Stratum, order: object, workers: int) -> list[int]:
        trained: list[int] = self.batch([stratum], np.array([[order]]), workers)[0, 0].tolist()
        return trained

    def batch(self, strata: Sequence[Stratum], orders: batch.Counts, workers: int) -> batch.Counts:
        why = np.stack([self.reasons(stratum) for stratum in strata])
        equal = np.stack([batch.equals(stratum) for stratum in strata])
        return batch.trained_rungs(why, equal, self.first, orders, workers)


def hopeful(level: float, doubt: float, warmup: int) -> ByReasons:
    """The former rule: a paired test at every look, and half of the last gain still to come (one
    and a half times the first score at the first rung), whatever the curve looks like."""

    @lru_cache(maxsize=512)
    def reasons(stratum: Stratum) -> batch.Flags:
        values = np.stack([curve.values for curve in stratum.curves])
        found = np.zeros((len(values), stratum.rungs, len(values)), dtype=bool)
        for rung in range(max(1, warmup), stratum.rungs):
            look = rung - max(1, warmup) + 1
            for i in range(len(values)):
                now = values[i, rung - 1]
                gains = 1.5 * now if rung == 1 else 0.5 * (now - values[i, rung - 2])
                gaps = values[:, rung - 1] - now
                hoped = gaps - gains if gains.mean() > 0 else gaps
                stop = p_values(gaps) <= level / (look * (look + 1))
                found[i, rung - 1] = stop & (gaps.mean(axis=1) > 0) & (p_values(hoped) <= doubt)
        return found

    return ByReasons(reasons, max(1, warmup))


def lagging(level: float, lag: int, warmup: int) -> ByReasons:
    """Worse than a rival is now, and no better than that rival was `lag` rungs ago."""

    @lru_cache(maxsize=512)
    def reasons(stratum: Stratum) -> batch.Flags:
        values = np.stack([curve.values for curve in stratum.curves])
        found = np.zeros((len(values), stratum.rungs, len(values)), dtype=bool)
        for rung in range(max(lag + 1, warmup), stratum.rungs):
            for i in range(len(values)):
                gaps = values[:, rung - 1] - values[i, rung - 1]
                before = values[:, rung - 1 - lag] - values[i, rung - 1]
                stop = (gaps.mean(axis=1) > 0) & (p_values(gaps) <= level)
                found[i, rung - 1] = stop & (p_values(before) <= 0.5)
        return found

    return ByReasons(reasons, max(lag + 1, warmup))


def posterior(chance: float, warmup: int) -> ByReasons:
    """Posterior curves: b + a·(1 − exp(−(t/s)^k)) over a grid of s and k, with b and a Gaussian; a
    run stops when its chance to end above what a rival is forecast to reach is at most `chance`."""

    @lru_cache(maxsize=512)
    def reasons(stratum: Stratum) -> batch.Flags:
        values = np.stack([curve.values for curve in stratum.curves])
        means = values.mean(axis=2)
        found = np.zeros((len(values), stratum.rungs, len(values)), dtype=bool)
        for rung in range(max(1, warmup), stratum.rungs):
            ends, spreads, weights = _forecast(values, rung)
            middle = (weights * ends).sum(axis=1)
            spread = (weights * (spreads + ends**2)).sum(axis=1) - middle**2
            gaps = middle[None, :, None] - ends[:, None, :]
            passes = ndtr(-gaps / np.sqrt(spreads[:, None, :] + spread[None, :, None]))
            chances = (weights[:, None, :] * passes).sum(axis=2)
            is_behind = means[None, :, rung - 1] > means[:, None, rung - 1]
            found[:, rung - 1] = (chances <= chance) & is_behind
        return found

    return ByReasons(reasons, max(1, warmup))


def _forecast(values: Array, rung: int, misfit: float = 0.015) -> tuple[Array, Array, Array]:
    """Means and variances of the last score, and weights, each of shape (runs, curves)."""
    _, rungs, examples = values.shape
    times = np.linspace(9 / rungs, 9, rungs)
    grid = [(k, s) for k in (0.5, 0.75, 1, 1.5, 2.2, 3.3, 5) for s in np.geomspace(0.25, 12, 11)]
    shapes = np.array([1 - np.exp(-((times / s) ** k)) for k, s in grid])
    seen = values[:, :rung].mean(axis=2)
    if rung > 1:
        steps = np.diff(values[:, :rung], axis=1).var(axis=2, ddof=1) / 2 / examples
        noise = np.concatenate([steps[:, :1], steps], axis=1)
    else:
        noise = 0.1 * seen * (1 - seen) / examples
    precision = 1 / (noise + misfit**2)
    (base, base_sd), (height, height_sd) = (0.15, 0.2), (0.5, 0.3)
    bb = 1 / base_sd**2 + precision.sum(axis=1)[:, None]
    ba = precision @ shapes[:, :rung].T
    aa = 1 / height_sd**2 + precision @ (shapes[:, :rung] ** 2).T
    hb = base / base_sd**2 + (precision * seen).sum(axis=1)[:, None]
    ha = height / height_sd**2 + (precision * seen) @ shapes[:, :rung].T
    size = bb * aa - ba**2
    b, a = (aa * hb - ba * ha) / size, (bb * ha - ba * hb) / size
    misses = (precision * seen**2).sum(axis=1)[:, None] - b * hb - a * ha
    logs = -0.5 * (misses + np.log(size))
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    last = shapes[:, -1]
    spreads = (aa - 2 * ba * last + bb * last**2) / size + misfit**2
    return b + a * last, spreads, weights
