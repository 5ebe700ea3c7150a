"""What the 95 % intervals of `agent.results.intervals` cover, by simulation.

    python -m tests.tools.prove_intervals [REPEATS]

A world has a true ratio of two variants. Every repeat draws trainings (seeds) and examples anew
and asks whether the interval holds the truth. Three families of worlds:

- `seeds`: binary scores with a difficulty per example, a training noise of 0.02 per seed, and what
  one seed answers and another doesn't; independent examples or clusters of 10.
- `clusters`: the difference of two variants has an intraclass correlation of 0.6 inside clusters.
- `flips`: two variants agree but on a share of examples (0.5, 1, 2 %), where one is always worse;
  independent, or in clusters of 10 with that correlation.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agent.results.intervals import Floats, Interval, Sides, difference_interval, ratio_interval

REPEATS = 2000
CLUSTER = 10
ICC = 0.6
SEED_SD = 0.02
Generator = np.random.Generator


@dataclass(frozen=True)
class World:
    """One setting of the simulation. `gain` is the true difference, `flips` the share of examples
    on which the treated side alone fails; the baseline has as many seeds unless `others` says."""

    kind: str
    seeds: int
    examples: int
    is_clustered: bool = False
    gain: float = 0.0
    flips: float = 0.0
    is_paired: bool = False
    others: int = 0

    @property
    def baseline_seeds(self) -> int:
        return self.others or self.seeds

    @property
    def name(self) -> str:
        against = f" against {self.others}" if self.others else ""
        words = [self.kind, f"{self.seeds}{against} seeds", f"n={self.examples}"]
        words += ["clusters of 10"] if self.is_clustered else []
        words += [f"gain {self.gain:g}"] if self.gain else []
        words += [f"flips {100 * self.flips:g} %"] if self.flips else []
        return ", ".join([*words, *(["one training"] if self.is_paired else [])])


def worlds() -> list[World]:
    found = []
    for seeds in (3, 5, 10):
        for examples in (60, 200, 1000):
            for clustered in (False, True):
                base = World("seeds", seeds, examples, clustered)
                found += [base, replace(base, gain=-0.05)]
                found += [replace(base, kind="clusters", gain=-0.05)] if clustered else []
                found += [
                    replace(base, kind="flips", flips=rate, is_paired=paired)
                    for rate in (0.005, 0.01, 0.02)
                    for paired in (False, True)
                ]
    return [*found, *rare_worlds()]


def rare_worlds() -> list[World]:
    """Two seeds, sides with unequal numbers of seeds, and odd numbers of examples."""
    found = []
    for seeds, others in ((2, 0), (2, 5), (5, 2), (10, 3)):
        for examples in (61, 457):
            for clustered in (False, True):
                base = World("seeds", seeds, examples, clustered, others=others)
                found += [base, replace(base, gain=-0.05), replace(base, kind="flips", flips=0.01)]
    return found


def draw(world: World, generator: Generator) -> tuple[Sides, float]:
    """One study and the true ratio of the two means."""
    count = world.examples
    clusters = np.arange(count) // (CLUSTER if world.is_clustered else 1)
    made: Callable[[World, Generator, Any], tuple[Floats, Floats, float]]
    made = {"seeds": _with_seeds, "clusters": _with_clusters, "flips": _with_flips}[world.kind]
    treated, baseline, ratio = made(world, generator, clusters)
    return Sides(treated, baseline, clusters, world.is_paired), ratio


def _shared(clusters: Any, generator: Generator) -> Floats:
    """Standard normal per example, with the correlation of a cluster."""
    count = int(clusters.max()) + 1
    if count == len(clusters):
        return generator.standard_normal(count)
    common = generator.standard_normal(count)[clusters]
    own = generator.standard_normal(len(clusters))
    return np.asarray(np.sqrt(ICC) * common + np.sqrt(1 - ICC) * own)


def _with_seeds(world: World, generator: Generator, clusters: Any) -> tuple[Floats, Floats, float]:
    """An example's chance of success differs (0.15 to 0.95); a training shifts all of them."""
    from scipy.special import ndtr

    chance = 0.15 + 0.8 * ndtr(_shared(clusters, generator) + 0.4)
    sides = []
    for gain, seeds in ((world.gain, world.seeds), (0.0, world.baseline_seeds)):
        shift = gain + SEED_SD * generator.standard_normal((seeds, 1))
        certain = generator.random((seeds, world.examples))
        sides.append((certain < np.clip(chance + shift, 0, 1)).astype(np.float64))
    # E[0.15 + 0.8 ndtr(x + 0.4)] with x standard normal; a clip is 2.5 standard deviations away.
    middle = 0.15 + 0.8 * float(ndtr(0.4 / np.sqrt(2)))
    return sides[0], sides[1], (middle + world.gain) / middle


def _with_clusters(
    world: World, generator: Generator, clusters: Any
) -> tuple[Floats, Floats, float]:
    """Scores like F1 whose difference has an intraclass correlation of 0.6 inside clusters."""
    baseline = 0.5 + 0.1 * _shared(clusters, generator)
    difference = world.gain + 0.15 * _shared(clusters, generator)
    noise = SEED_SD * generator.standard_normal((2, world.seeds, 1))
    own = 0.05 * generator.standard_normal((2, world.seeds, world.examples))
    treated = baseline + difference + noise[0] + own[0]
    return treated, baseline + noise[1] + own[1], (0.5 + world.gain) / 0.5


def _with_flips(world: World, generator: Generator, clusters: Any) -> tuple[Floats, Floats, float]:
    """Every seed of a side answers alike; on the flipped examples the treated side alone fails."""
    count = int(clusters.max()) + 1
    if count < len(clusters):
        common = 1 / ICC - 1
        share = generator.beta(world.flips * common, (1 - world.flips) * common, count)[clusters]
    else:
        share = np.full(world.examples, world.flips)
    right = generator.random(world.examples) < 0.8
    flipped = generator.random(world.examples) < share
    baseline = np.tile((right | flipped).astype(np.float64), (world.baseline_seeds, 1))
    treated = np.tile((right & ~flipped).astype(np.float64), (world.seeds, 1))
    kept = 0.8 * (1 - world.flips)
    return treated, baseline, kept / (kept + world.flips)


def coverage(world: World, repeats: int, seed: int = 0) -> float:
    """Share of the repeats whose interval of the ratio holds the truth; none counts as missed."""
    generator = np.random.default_rng([seed, *map(ord, world.name)])
    hits = 0
    for _ in range(repeats):
        sides, truth = draw(world, generator)
        found = ratio_interval(sides)
        hits += found is not None and _holds(found, truth)
    return hits / repeats


def _holds(found: Interval, truth: float) -> bool:
    return found.low <= truth <= found.high


def called_different(world: World, repeats: int, seed: int = 1) -> float:
    """Share of the repeats in which two equal variants are called different."""
    generator = np.random.default_rng([seed, *map(ord, world.name)])
    calls = 0
    for _ in range(repeats):
        sides, _ = draw(replace(world, gain=0.0, flips=0.0), generator)
        ratio, gap = ratio_interval(sides), difference_interval(sides)
        calls += bool((ratio and ratio.excludes(1.0)) or (gap and gap.excludes(0.0)))
    return calls / repeats


def main(repeats: int = REPEATS) -> Mapping[str, object]:
    covered = {world.name: coverage(world, repeats) for world in worlds()}
    equal = {w.name: called_different(w, repeats) for w in worlds() if not w.gain and not w.flips}
    lowest = min(covered, key=lambda name: covered[name])
    highest = max(equal, key=lambda name: equal[name])
    return {
        "repeats": repeats,
        "worlds": len(covered),
        "least_coverage": round(covered[lowest], 4),
        "least_coverage_in": lowest,
        "mean_coverage": round(float(np.mean(list(covered.values()))), 4),
        "most_called_different": round(equal[highest], 4),
        "most_called_different_in": highest,
        "coverage": {name: round(value, 4) for name, value in covered.items()},
        "called_different": {name: round(value, 4) for name, value in equal.items()},
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
