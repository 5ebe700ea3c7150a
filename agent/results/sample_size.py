"""How many examples and seeds a difference in retention takes, from the spread seen so far.

The ratio's standard error is that of `agent.results.intervals`: the noise of training over seeds,
the spread of the paired difference over examples (clusters included), and the floor for differences
not seen yet. A difference is resolved when the 95 % interval excludes 1 with a chance of 80 %.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.results.columns import RUN_COST, TRAINING_COST
from agent.results.costs import SECONDS_PER_HOUR, mean_of
from agent.results.intervals import Z, t_quantile
from agent.results.noise import SeedNoise
from agent.results.study import FamilyReport

TARGETS = (0.01, 0.03)
EXAMPLES = (200, 500, 1000, 2000, 5000)
MOST_SEEDS = 30
POWER_Z = 0.8416  # of a chance of 80 %


@dataclass(frozen=True)
class Spread:
    """What was seen. `example_sd` is that of one example's difference, in units of retention;
    `score` is Full LoRA's, which turns a score into retention."""

    score: float
    seeds: SeedNoise
    example_sd: float
    examples: int
    variants: int
    runs: int  # complete runs of the chosen settings
    run_seconds: float | None

    def standard_error(self, seeds: int, examples: int) -> float:
        return math.sqrt(self._seed_part(seeds) * 2 + self._example_part(examples))

    def least_difference(self, seeds: int, examples: int) -> float:
        """The smallest difference in retention that so many seeds and examples tell apart."""
        one_side = self._seed_part(seeds)
        parts = [(one_side, seeds - 1.0)] * 2 + [(self._example_part(examples), examples - 1.0)]
        quantile = t_quantile(parts, seeds - 1.0)
        return (quantile + POWER_Z) * self.standard_error(seeds, examples)

    def _seed_part(self, seeds: int) -> float:
        return (self.seeds.sd / self.score) ** 2 / seeds

    def _example_part(self, examples: int) -> float:
        return self.example_sd**2 / examples + (Z / (examples * self.score)) ** 2


@dataclass(frozen=True)
class Option:
    """One way to tell `target` apart: `seeds` is None where no number of them is enough."""

    target: float
    examples: int
    seeds: int | None


def spread_of(family: FamilyReport) -> Spread | None:
    """The spread seen in one family; None without a complete Full LoRA and example scores."""
    baseline = next((cell for cell in family.cells if cell.is_baseline), None)
    found = [c.best.interval for c in family.cells if c.best.interval is not None]
    if baseline is None or not baseline.score or not found:
        return None
    chosen = [cell.selection.chosen.rows for cell in family.cells if cell.selection.chosen]
    rows = [row for group in chosen for row in group]
    seconds = [mean_of(group, RUN_COST) or mean_of(group, TRAINING_COST) for group in chosen]
    known = [value for value in seconds if value is not None]
    variance = statistics.fmean(interval.example_sd**2 for interval in found)
    return Spread(
        score=baseline.score,
        seeds=baseline.selection.seed_noise,
        example_sd=math.sqrt(variance),
        examples=min(interval.examples for interval in found),
        variants=len(family.cells),
        runs=len(rows),
        run_seconds=statistics.fmean(known) if known else None,
    )


def options(spread: Spread, target: float) -> tuple[Option, ...]:
    """The examples of now, and each larger number that needs fewer seeds than those before it."""
    found = [_option(spread, target, spread.examples)]
    for examples in EXAMPLES:
        option = _option(spread, target, examples)
        fewest = min((o.seeds for o in found if o.seeds is not None), default=MOST_SEEDS + 1)
        if examples > spread.examples and option.seeds is not None and option.seeds < fewest:
            found.append(option)
    return tuple(found)


def _option(spread: Spread, target: float, examples: int) -> Option:
    enough = (
        seeds
        for seeds in range(2, MOST_SEEDS + 1)
        if spread.least_difference(seeds, examples) <= target
    )
    return Option(target, examples, next(enough, None))


def size_lines(spread: Spread, targets: Sequence[float] = TARGETS) -> list[str]:
    """The plan in words: what was seen, then for each target what it takes and what it costs."""
    lines = [
        "to tell retention apart (95 % interval, chance 80 %), from the spread seen so far: "
        f"{spread.seeds}; over examples {spread.example_sd:.3f} of Full LoRA's score, "
        f"n = {spread.examples}"
    ]
    for target in targets:
        found = options(spread, target)
        if all(option.seeds is None for option in found):  # then with the most that is looked at
            found = (Option(target, max(spread.examples, EXAMPLES[-1]), None),)
        ways = [_way(spread, option) for option in found]
        lines.append(f"  {100 * target:g} %: {'; or '.join(ways)}")
    return lines


def _way(spread: Spread, option: Option) -> str:
    if option.seeds is None:
        least = 100 * spread.least_difference(MOST_SEEDS, option.examples)
        return (
            f"not with up to {MOST_SEEDS} seeds at n = {option.examples} "
            f"(they tell {least:.1f} % apart)"
        )
    total = option.seeds * spread.variants
    missing = max(total - spread.runs, 0)
    cost = ""
    if spread.run_seconds is not None:
        hours = missing * spread.run_seconds / SECONDS_PER_HOUR
        cost = f", about {hours:.2g} GPU hours"
        cost += " and their evaluation" if option.examples > spread.examples else ""
    return (
        f"{option.seeds} seeds at n = {option.examples} ({total} runs at the best settings, "
        f"{missing} more than now{cost})"
    )


def study_lines(families: Iterable[FamilyReport]) -> list[str]:
    """The lines of every family, with its name where there are several."""
    found = list(families)
    lines: list[str] = []
    for family in found:
        spread = spread_of(family)
        if len(found) > 1:
            lines.append(f"{family.label}:")
        if spread is None:
            lines.append(
                "numbers of examples and seeds: not known before Full LoRA and another variant "
                "have a complete run each with per-example scores"
            )
        else:
            lines += size_lines(spread)
    return lines
