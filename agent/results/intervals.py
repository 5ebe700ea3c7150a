"""Intervals of a variant's score against another's, with every component of the noise that matters.

Two things are drawn at random: the seeds of the trainings and the examples of the evaluation, and
examples about one document (or from one question) come together as a cluster. All runs answer the
same examples, so the examples' difficulty cancels; so does the noise of training where both sides
are served from the same trainings.

The method is closed-form: variance components of the two means over seeds and over clusters, a
floor for differences too rare to have been seen, Fieller's set for the ratio, and Student's t with
Satterthwaite's degrees of freedom. A bootstrap of the examples alone covers about 70 % with three
seeds, and one of seeds and examples covers 42 % where 1 % of 60 examples differ: neither sees what
was not drawn. `tests/tools/prove_intervals.py` holds the simulation of what this one covers. It is
careful rather than narrow: what one seed answers and another doesn't counts in both components.
With one seed on a side the noise of training cannot be seen and is not in the interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
Z = 1.959963984540054
# Intraclass correlation that differences not seen yet are taken to have inside a cluster.
UNSEEN_ICC = 0.6

Floats = NDArray[np.float64]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Interval:
    """`seeds` is that of the side with fewer; with 1 the noise of training is not included.
    `example_sd` is the spread of one example's part, so that its share in the variance is
    `example_sd`^2 / `examples`; clusters make it larger."""

    low: float
    high: float
    examples: int
    seeds: int = 1
    clusters: int = 0
    example_sd: float = 0.0

    @property
    def covers_training(self) -> bool:
        return self.seeds > 1

    def excludes(self, value: float) -> bool:
        """Whether it speaks against `value`; with one seed it never does."""
        return self.covers_training and not self.low <= value <= self.high


@dataclass(frozen=True)
class Sides:
    """Scores of two sides over the examples that every run answered.

    `treated` and `baseline` have shape [seeds, examples]; `clusters` [examples] numbers the
    document of each example from 0. `is_paired` says that row i of both comes from one training.
    """

    treated: Floats
    baseline: Floats
    clusters: NDArray[np.int64]
    is_paired: bool = False

    @property
    def examples(self) -> int:
        return int(self.treated.shape[1]) if self.treated.ndim == 2 else 0

    @property
    def seeds(self) -> int:
        return min(len(self.treated), len(self.baseline))

    @property
    def cluster_count(self) -> int:
        return int(self.clusters.max()) + 1 if len(self.clusters) else 0


def align(
    treated: Mapping[int, Sequence[Scores]],
    baseline: Mapping[int, Sequence[Scores]],
    sources: Mapping[str, str] | None = None,
    *,
    is_paired: bool = False,
) -> Sides | None:
    """Runs by seed (a seed that ran twice counts once) as arrays; `sources` maps an example to its
    document. None when a run has no scores or fewer than two examples are shared."""
    runs = [run for side in (treated, baseline) for found in side.values() for run in found]
    if not treated or not baseline or not all(runs):
        return None
    shared = sorted(set(runs[0]).intersection(*runs[1:]))
    if len(shared) < 2:
        return None
    named = [(sources or {}).get(example) or f"\0{example}" for example in shared]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
    return Sides(
        _array(treated, shared),
        _array(baseline, shared),
        np.asarray([numbers[name] for name in named], dtype=np.int64),
        is_paired and set(treated) == set(baseline),
    )


def _array(side: Mapping[int, Sequence[Scores]], examples: Sequence[str]) -> Floats:
    rows = []
    for seed in sorted(side):
        runs = np.asarray([[run[e] for e in examples] for run in side[seed]], dtype=np.float64)
        rows.append(runs.mean(axis=0))
    return np.stack(rows)


def ratio_interval(sides: Sides) -> Interval | None:
    """Fieller's interval of mean(treated) / mean(baseline).

    None with fewer than two clusters, or when the baseline's mean is not clearly above 0.
    """
    means = _means(sides)
    if sides.cluster_count < 2 or means[1] <= 0:
        return None
    noise = _noise(sides, means[0] / means[1])
    t_square = noise.quantile**2
    (aa, ab), (_, bb) = noise.covariance
    a, b = means
    lead = b * b - t_square * bb
    if lead <= 0:
        return None
    middle = a * b - t_square * ab
    under = max(middle * middle - lead * (a * a - t_square * aa), 0.0)
    low, high = (middle - math.sqrt(under)) / lead, (middle + math.sqrt(under)) / lead
    ends = max(float(low), 0.0), float(high)
    spread = math.sqrt(sides.examples * noise.of_examples) / b
    return Interval(*ends, sides.examples, sides.seeds, sides.cluster_count, spread)


def difference_interval(sides: Sides, seed_sd: float | None = None) -> Interval | None:
    """Interval of mean(treated) - mean(baseline); None with fewer than two clusters.

    `seed_sd` is a known standard deviation of a score over seeds. With it the noise of training is
    included for a side of one seed too.
    """
    if sides.cluster_count < 2:
        return None
    first, second = _means(sides)
    noise = _noise(sides, 1.0)
    spread = noise.variance(1.0)
    if seed_sd is not None and not sides.is_paired:
        single = sum(1 for side in (sides.treated, sides.baseline) if len(side) == 1)
        spread += single * seed_sd**2
    half = noise.quantile * math.sqrt(spread)
    value = first - second
    return Interval(value - half, value + half, sides.examples, sides.seeds, sides.cluster_count)


# ---------------------------------------------------------------------- variance components
@dataclass(frozen=True)
class _Noise:
    """Covariance of the two means, and the t quantile that goes with it."""

    covariance: Floats
    quantile: float
    of_examples: float  # the variance that the examples bring, at the contrast

    def variance(self, ratio: float) -> float:
        return max(_of_contrast(self.covariance, ratio), 0.0)


def _means(sides: Sides) -> tuple[float, float]:
    return float(sides.treated.mean()), float(sides.baseline.mean())


def _noise(sides: Sides, ratio: float) -> _Noise:
    """The components at treated - ratio * baseline. Each has its own degrees of freedom."""
    parts = [*_seed_parts(sides), _example_part(sides)]
    floor = np.array([[_floor(sides), 0.0], [0.0, 0.0]])
    total = sum((covariance for covariance, _ in parts), start=floor)
    variances = [(max(_of_contrast(c, ratio), 0.0), df) for c, df in parts]
    quantile = t_quantile(variances, sides.cluster_count - 1)
    return _Noise(total, quantile, variances[-1][0])


def _seed_parts(sides: Sides) -> list[tuple[Floats, float]]:
    """Covariance of the means from the spread over seeds; nothing for a side with one seed."""
    first, second = sides.treated.mean(axis=1), sides.baseline.mean(axis=1)
    if sides.is_paired:
        count = len(first)
        return [(np.cov(first, second) / count, count - 1.0)] if count > 1 else []
    found = []
    for place, side in enumerate((first, second)):
        if len(side) > 1:
            part = np.zeros((2, 2))
            part[place, place] = side.var(ddof=1) / len(side)
            found.append((part, len(side) - 1.0))
    return found


def _example_part(sides: Sides) -> tuple[Floats, float]:
    """Covariance of the means from the spread over clusters of examples (linearised)."""
    count, clusters = sides.examples, sides.cluster_count
    both = np.stack([sides.treated.mean(axis=0), sides.baseline.mean(axis=0)])
    centred = both - both.mean(axis=1, keepdims=True)
    totals = np.stack([np.bincount(sides.clusters, row, minlength=clusters) for row in centred])
    return totals @ totals.T * (clusters / (clusters - 1)) / count**2, clusters - 1.0


def _floor(sides: Sides) -> float:
    """Variance of the differences that are too rare to have been seen.

    As many again as the rule of three (for 97.5 %) allows among examples that all agree, each as
    large as a score can be. Added to what was seen, as Agresti and Min's pseudo-pairs are, so that
    an interval never shrinks to a point. What differs comes by clusters: a rare difference that
    hits a cluster hits several of its examples, by the beta-binomial law with `UNSEEN_ICC`.
    """
    sizes, counts = np.unique(np.bincount(sides.clusters), return_counts=True)
    odds = 1 / UNSEEN_ICC - 1
    # Per unit of a small rate: the expected square of the examples hit, and the chance of a hit.
    squares = sizes * (1 + (sizes - 1) * UNSEEN_ICC)
    hits = np.array([(odds / (odds + np.arange(size))).sum() for size in sizes])
    return Z**2 * float(counts @ squares / (counts @ hits)) / sides.examples**2


def _of_contrast(covariance: Floats, ratio: float) -> float:
    return float(covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio * ratio * covariance[1, 1])


def t_quantile(parts: Sequence[tuple[float, float]], fewest: float) -> float:
    """Student's quantile at Satterthwaite's degrees of freedom of a sum of variances."""
    from scipy.special import stdtrit  # light, unlike scipy.stats

    total = sum(variance for variance, _ in parts)
    square = sum(variance**2 / df for variance, df in parts)
    freedom = total**2 / square if square > 0 else fewest
    return float(stdtrit(max(freedom, 1.0), (1 + LEVEL) / 2))
