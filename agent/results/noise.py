"""How far apart two candidates have to be before one of them is better.

The strongest evidence at hand decides, and its name goes into the report: per-example scores with
the spread over seeds, else at least three shared seeds, else the bound that scores in [0, 1]
cannot exceed. A candidate with one seed gets the noise of training from elsewhere: `seed_sd`.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.results.columns import SCORE
from agent.results.comparable import seed_of
from agent.results.intervals import Scores, Sides, Z, align, difference_interval
from agent.results.run_table import Row

Method = Literal["paired examples", "seeds and examples", "paired seeds", "bound", "unknown"]
MIN_SEEDS = 3
# Standard deviation of F1 over seeds where a project has measured none: two seeds of the demo's
# Full LoRA gave 0.663 and 0.606. It weighs as much as PRIOR_FREEDOM degrees of freedom.
PRIOR_SEED_SD = 0.04
PRIOR_FREEDOM = 3


class Scored(Protocol):
    """What `selection.Candidate` offers here."""

    @property
    def mean(self) -> float: ...
    @property
    def by_seed(self) -> tuple[tuple[int, float], ...]: ...
    @property
    def rows(self) -> tuple[Row, ...]: ...
    @property
    def is_final(self) -> bool: ...


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of a score over seeds, pooled over `settings` and the prior."""

    sd: float = PRIOR_SEED_SD
    settings: int = 0
    freedom: int = 0

    def __str__(self) -> str:
        if not self.settings:
            return f"standard deviation over seeds taken as {self.sd:.3f} (none measured)"
        return f"standard deviation over seeds {self.sd:.3f} (of {self.settings} settings)"


def seed_noise(candidates: Iterable[Scored]) -> SeedNoise:
    """The noise of training that is seen in every setting with at least two seeds."""
    groups = [[score for _, score in c.by_seed] for c in candidates if len(c.by_seed) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    total = squares + PRIOR_FREEDOM * PRIOR_SEED_SD**2
    return SeedNoise(math.sqrt(total / (freedom + PRIOR_FREEDOM)), len(groups), freedom)


@dataclass(frozen=True)
class Difference:
    """first - second with its 95 % interval; the interval is None when the noise is unknown."""

    value: float
    low: float | None
    high: float | None
    method: Method

    @property
    def is_within_noise(self) -> bool:
        """True when the interval does not exclude 0; with unknown noise only equals are ties."""
        if self.low is None or self.high is None:
            return self.value == 0
        return self.low <= 0 <= self.high


def difference(first: Scored, second: Scored, seeds: SeedNoise | None = None) -> Difference:
    """Compare two candidates by the strongest evidence they share."""
    value = first.mean - second.mean
    noise = seeds or SeedNoise()
    return (
        _by_examples(value, first, second, noise)
        or _by_seeds(value, first, second)
        or _by_bound(value, first, second, noise)
        or Difference(value, None, None, "unknown")
    )


def aligned(
    treated: Sequence[Row], baseline: Sequence[Row], metric: str, split: str
) -> Sides | None:
    """The per-example scores of two sets of runs, paired by seed where they share trainings."""
    by_seed, keys = [], []
    for rows in (treated, baseline):
        seeds: dict[int, list[Scores]] = {}
        trainings: dict[int, set[str | None]] = {}
        for row in rows:
            seeds.setdefault(seed_of(row), []).append(row.examples(split, metric))
            trainings.setdefault(seed_of(row), set()).add(row.text("training/key"))
        by_seed.append(seeds)
        keys.append(trainings)
    is_paired = keys[0] == keys[1] and not any(None in found for found in keys[0].values())
    sources: dict[str, str] = {}
    for row in (*treated, *baseline):
        sources |= row.sources.get(split, {})
    return align(by_seed[0], by_seed[1], sources, is_paired=is_paired)


def _by_examples(
    value: float, first: Scored, second: Scored, noise: SeedNoise
) -> Difference | None:
    """Per-example scores belong to the last evaluation point, so both must stand there."""
    if not (first.is_final and second.is_final):
        return None
    sides = aligned(first.rows, second.rows, SCORE, "validation")
    interval = None if sides is None else difference_interval(sides, noise.sd)
    if interval is None:
        return None
    method: Method = "seeds and examples" if interval.covers_training else "paired examples"
    return Difference(value, interval.low, interval.high, method)


def _by_seeds(value: float, first: Scored, second: Scored) -> Difference | None:
    """Student's t over seeds that both ran."""
    mine, theirs = dict(first.by_seed), dict(second.by_seed)
    gaps = [mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())]
    if len(gaps) < MIN_SEEDS:
        return None
    from scipy.special import stdtrit  # light, unlike scipy.stats

    middle = statistics.fmean(gaps)
    half = float(stdtrit(len(gaps) - 1, 0.975)) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Difference(value, middle - half, middle + half, "paired seeds")


def _by_bound(value: float, first: Scored, second: Scored, noise: SeedNoise) -> Difference | None:
    """Scores in [0, 1] with mean m vary by at most m (1 - m): an interval that is too wide rather
    than too narrow. Seeds share the examples, so they make only the noise of training smaller."""
    counts = [example_count(side.rows) for side in (first, second)]
    if None in counts:
        return None
    variance = sum(
        max(side.mean * (1 - side.mean), 0.0) / (count or 1) + noise.sd**2 / len(side.by_seed)
        for side, count in zip((first, second), counts, strict=True)
    )
    half = Z * math.sqrt(variance)
    return Difference(value, value - half, value + half, "bound")


def example_count(rows: Sequence[Row]) -> int | None:
    """How many examples a run was scored on: counted where scores are at hand, else as it says."""
    for row in rows:
        if row.scores.get("validation"):
            return len(row.scores["validation"])
        for key in ("validation/examples", "eval_examples"):
            number = row.number(key)
            if number is not None and number >= 1:
                return int(number)
    return None
