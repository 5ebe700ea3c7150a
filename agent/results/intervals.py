"""Intervals from per-example scores: the paired bootstrap, vectorised.

All variants answer the same examples, so examples are resampled together for both sides: most of
the noise is the examples' difficulty, and it cancels. The interval covers the validation sample,
not the seed; spread over seeds stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
LEVEL = 0.95
_CELLS_AT_ONCE = 8_000_000  # resamples x examples held in memory together: 64 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    examples: int


def paired_scores(
    treated: Sequence[Mapping[str, float]], baseline: Sequence[Mapping[str, float]]
) -> tuple[Floats, Floats]:
    """Scores of the examples that every run answered, averaged over the runs of each side.

    Shapes [examples] and [examples], same order; empty when a side has no run with scores.
    """
    runs = [*treated, *baseline]
    if not treated or not baseline or not all(runs):
        return np.empty(0), np.empty(0)
    shared = sorted(set(runs[0]).intersection(*runs[1:]))
    sides = [[[run[e] for e in shared] for run in side] for side in (treated, baseline)]
    first, second = (np.asarray(side, dtype=np.float64).mean(axis=0) for side in sides)
    return first, second


def ratio_interval(
    treated: Floats, baseline: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Percentile interval of mean(treated) / mean(baseline) over the same examples.

    None with fewer than two examples, or when the baseline's mean is not clearly above 0.
    """
    means = _resampled_means(treated, baseline, resamples, seed)
    if means is None or np.quantile(means[1], (1 - LEVEL) / 2) <= 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(means[1] > 0, means[0] / means[1], np.inf)
    return _quantiles(ratios, len(treated))


def difference_interval(
    first: Floats, second: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Percentile interval of mean(first) - mean(second) over the same examples."""
    means = _resampled_means(first, second, resamples, seed)
    return None if means is None else _quantiles(means[0] - means[1], len(first))


def _resampled_means(first: Floats, second: Floats, resamples: int, seed: int) -> Floats | None:
    """Shape [2, resamples]. A resample is a vector of counts, so a mean is one dot product."""
    count = len(first)
    if count < 2:
        return None
    both = np.stack([first, second]) / count
    if count * resamples <= _CELLS_AT_ONCE:
        return np.asarray(both @ _counts(count, resamples, seed).T)
    size = max(1, _CELLS_AT_ONCE // count)
    starts = range(0, resamples, size)
    sizes = [min(size, resamples - start) for start in starts]
    parts = [both @ _draw(count, n, (seed, i)).T for i, n in enumerate(sizes)]
    return np.concatenate(parts, axis=1)


@lru_cache(maxsize=4)
def _counts(count: int, resamples: int, seed: int) -> Floats:
    """All comparisons of a report use the same resamples: drawing them costs more than use."""
    return _draw(count, resamples, (seed,))


def _draw(count: int, resamples: int, seed: tuple[int, ...]) -> Floats:
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn.astype(np.float64)


def _quantiles(values: Floats, examples: int) -> Interval:
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(values, edges, method="inverted_cdf")
    return Interval(float(low), float(high), examples)
