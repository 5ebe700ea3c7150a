"""How far apart two candidates have to be before one of them is better.

The strongest evidence at hand decides, and its name goes into the report: paired per-example
scores, else at least three shared seeds, else the bound that scores in [0, 1] cannot exceed.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.results.columns import SCORE
from agent.results.intervals import difference_interval, paired_scores
from agent.results.run_table import Row

Method = Literal["paired examples", "paired seeds", "bound", "unknown"]
MIN_SEEDS = 3
Z = 1.96


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


def difference(first: Scored, second: Scored) -> Difference:
    """Compare two candidates by the strongest evidence they share."""
    value = first.mean - second.mean
    return (
        _by_examples(value, first, second)
        or _by_seeds(value, first, second)
        or _by_bound(value, first, second)
        or Difference(value, None, None, "unknown")
    )


def _by_examples(value: float, first: Scored, second: Scored) -> Difference | None:
    """Per-example scores belong to the last evaluation point, so both must stand there."""
    if not (first.is_final and second.is_final):
        return None
    sides = [[row.examples("validation", SCORE) for row in side.rows] for side in (first, second)]
    interval = difference_interval(*paired_scores(*sides))
    if interval is None:
        return None
    return Difference(value, interval.low, interval.high, "paired examples")


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


def _by_bound(value: float, first: Scored, second: Scored) -> Difference | None:
    """Scores in [0, 1] with mean m vary by at most m (1 - m): an interval that is too wide rather
    than too narrow. Seeds share the examples, so they don't make it narrower."""
    counts = [example_count(side.rows) for side in (first, second)]
    if None in counts:
        return None
    variance = sum(
        max(side.mean * (1 - side.mean), 0.0) / (count or 1)
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
