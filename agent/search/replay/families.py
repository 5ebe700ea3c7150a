"""Families of made-up learning curves whose truth is known: what pruners are developed on and
judged by.

A stratum of a family is eight runs over nine rungs. A run's mean at a rung is a formula of the
family; the scores of its examples are drawn around it, each the mean of a few right-or-wrong
answers, with three parts of noise: how hard an example is (shared by all runs), what a run makes
of it (kept over the rungs), and what is left to chance at each rung. So the *true* mean of every
run is known, and regret can be separated from luck with the examples.

`ORDINARY` and `LATE` are what the rules were developed on, `UNSEEN` and
`UNSEEN_LATE` were only ever reported on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from agent.config.rules import unknown_name
from agent.errors import ConfigError
from agent.search.replay.curves import Curve, Stratum

Array = npt.NDArray[np.float64]
Means = Callable[[np.random.Generator, int, int], Array]  # rng, runs, rungs → (runs, rungs)

RUNS, RUNGS = 8, 9
ANSWERS = 3  # right-or-wrong answers whose mean is the score of an example
HARDNESS, OWN = 0.60, 0.25  # shares of the variance; the rest is chance at each rung


@dataclass(frozen=True, eq=False)
class MadeStratum(Stratum):
    """A stratum that knows the true means of its runs, shape (runs, rungs)."""

    truth: Array

    def regret(self, chosen: int) -> float:
        """How much lower the chosen run truly ends than the one the full grid would choose; a run
        that is truly better is none."""
        return max(0.0, float(self.truth[self.winner, -1] - self.truth[chosen, -1]))


def made(
    family: str, number: int, *, examples: int, runs: int = RUNS, rungs: int = RUNGS
) -> MadeStratum:
    """Stratum `number` of a family; the same arguments give the same scores."""
    if family not in FAMILIES:
        raise ConfigError([unknown_name(family, FAMILIES, "family")], where="replay")
    rng = np.random.default_rng([list(FAMILIES).index(family), number, examples])
    truth = np.clip(FAMILIES[family](rng, runs, rungs), 0.001, 0.999)
    scores = drawn_scores(truth, examples, rng)
    curves = tuple(
        Curve(f"run={i}", f"{family} {number} {examples} {i}", values)
        for i, values in enumerate(scores)
    )
    return MadeStratum(f"{family} {number} n={examples}", curves, truth)


def drawn_scores(truth: Array, examples: int, rng: np.random.Generator) -> Array:
    """Scores of shape (runs, rungs, examples) whose expectation is `truth` (runs, rungs)."""
    runs, rungs = truth.shape
    shape = (runs, rungs, ANSWERS, examples)
    hard = rng.normal(size=(1, 1, 1, examples))
    own = rng.normal(size=(runs, 1, 1, examples))
    chance = rng.normal(size=shape)
    left = 1 - HARDNESS - OWN
    latent = np.sqrt(HARDNESS) * hard + np.sqrt(OWN) * own + np.sqrt(left) * chance
    right = (latent < ndtri(truth)[:, :, None, None]).mean(axis=2)
    scores: Array = np.round(right, 4)
    return scores


# ------------------------------------------------------------------ the formulas
def _steps(rungs: int) -> Array:
    """Progress of the budget at each rung times nine: rung numbers when there are nine."""
    return np.linspace(9 / rungs, 9, rungs)


def _power_law(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """a − b·t^−c: everybody slows down, the ends differ."""
    top = rng.uniform(0.65, 0.9) - np.abs(rng.normal(0, 0.12, (runs, 1)))
    start = top * rng.uniform(0.5, 0.75, (runs, 1))
    return top - (top - start) * _steps(rungs) ** -rng.uniform(0.6, 1.2, (runs, 1))


def _crossing(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """Learning rates in order: the low ones learn slowly, and the best is below the fastest."""
    rate = np.linspace(-1, 1, runs)[:, None] + rng.normal(0, 0.05, (runs, 1))
    peak = rng.uniform(-0.3, 0.5)
    top = rng.uniform(0.65, 0.85) - rng.uniform(0.15, 0.35) * (rate - peak) ** 2
    speed = 0.9 * np.exp(rng.uniform(0.3, 0.6) * rate)
    start = rng.uniform(0.0, 0.1)
    means: Array = start + (top - start) * (1 - np.exp(-speed * _steps(rungs)))
    return means


def _overfitting(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """A fast rise and a slow decline, which begins earlier the faster a run learns."""
    t = _steps(rungs)
    top = rng.uniform(0.6, 0.85) - np.abs(rng.normal(0, 0.1, (runs, 1)))
    speed = rng.uniform(0.9, 1.8, (runs, 1))
    turn, slope = 5.5 / speed, rng.uniform(0.002, 0.01, (runs, 1))
    means: Array = top * (1 - np.exp(-speed * t)) - slope * np.maximum(0, t - turn)
    return means


def _flat(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """All runs the same: whom one keeps does not matter."""
    top, speed = rng.uniform(0.4, 0.85), rng.uniform(0.8, 2.5)
    return np.tile(top * (1 - np.exp(-speed * _steps(rungs))), (runs, 1))


def _warm_base(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """A base that can do the task already: a little is gained, or lost."""
    base = rng.uniform(0.5, 0.75)
    gain = rng.uniform(0.06, 0.12) - np.abs(rng.normal(0, 0.08, (runs, 1)))
    speed = rng.uniform(0.5, 1.2, (runs, 1))
    means: Array = base + gain * (1 - np.exp(-speed * _steps(rungs)))
    return means


def _one_rung_lag(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """The best run starts one rung after the others and ends about 0.06 above them."""
    t = _steps(rungs)
    rival = np.interp(t, [0, 1, 2, 3, 4, 6, 9], [0.05, 0.40, 0.65, 0.71, 0.73, 0.745, 0.75])
    late = np.interp(t, [0, 1, 2, 3, 4, 6, 9], [0.02, 0.10, 0.40, 0.69, 0.76, 0.80, 0.81])
    others = rival - np.abs(rng.normal(0, 0.04, (runs, 1)))
    others[0] = rival
    others[-1] = late + rng.uniform(-0.015, 0.015)
    return others


def _late_sigmoid(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """Sigmoids in time; the best run is the one whose rise comes last."""
    t = _steps(rungs)
    middle = np.sort(rng.uniform(1.0, 3.5, (runs, 1)), axis=0)
    middle[-1] = rng.uniform(4.0, 6.0)
    top = rng.uniform(0.6, 0.75) - np.abs(rng.normal(0, 0.05, (runs, 1)))
    top[-1] = top.max() + rng.uniform(0.04, 0.1)
    means: Array = top / (1 + np.exp(-rng.uniform(1.0, 1.8, (runs, 1)) * (t - middle)))
    return means


def _log_linear(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """Gains with the logarithm of the steps: no run reaches a plateau."""
    slope = rng.uniform(0.1, 0.25) * rng.uniform(0.5, 1.1, (runs, 1))
    return rng.uniform(0.05, 0.4, (runs, 1)) * 0.8 + slope * np.log(_steps(rungs))


def _weibull(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """1 − exp(−(t/s)^k) with k on both sides of 1: saturating and delayed runs in one stratum."""
    top = rng.uniform(0.65, 0.85) - np.abs(rng.normal(0, 0.08, (runs, 1)))
    scale, shape = rng.uniform(0.8, 4.0, (runs, 1)), rng.uniform(0.6, 2.0, (runs, 1))
    means: Array = top * (1 - np.exp(-((_steps(rungs) / scale) ** shape)))
    return means


def _diverging(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """Learning rates in order; the highest ones fall to nothing after a good start."""
    t = _steps(rungs)
    rate = np.linspace(-1, 1, runs)[:, None]
    top = rng.uniform(0.7, 0.9) - 0.25 * (rate - rng.uniform(-0.2, 0.3)) ** 2
    rise = top * (1 - np.exp(-0.9 * np.exp(0.7 * rate) * t))
    falls = rate > rng.uniform(0.3, 0.7)
    fall = 1 / (1 + np.exp(2.5 * (t - rng.uniform(1.0, 4.0, (runs, 1)))))
    means: Array = np.where(falls, rise * fall + 0.05, rise)
    return means


def _noisy_rise(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """Exponential saturation whose means jump from rung to rung, as with a high learning rate."""
    top = rng.uniform(0.6, 0.85) - np.abs(rng.normal(0, 0.1, (runs, 1)))
    rise = top * (1 - np.exp(-rng.uniform(0.4, 1.5, (runs, 1)) * _steps(rungs)))
    jumps = rng.normal(0, 1, (runs, rungs)) * rng.uniform(0.0, 0.04, (runs, 1))
    jumps[:, -1] = 0.0
    means: Array = rise + jumps
    return means


def _two_rung_lag(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """The best run starts two rungs after the others and ends a little above them."""
    t = _steps(rungs)
    speed, top = rng.uniform(0.7, 1.1), rng.uniform(0.65, 0.85)
    rise = top * (1 - np.exp(-speed * t)) - np.abs(rng.normal(0, 0.04, (runs, 1)))
    rise[-1] = (top + rng.uniform(0.03, 0.07)) * (1 - np.exp(-speed * np.maximum(0.04 * t, t - 2)))
    return rise


def _warm_late(rng: np.random.Generator, runs: int, rungs: int) -> Array:
    """A base that can do half of the task, and a best run that stands still before it rises."""
    base = rng.uniform(0.3, 0.5)
    means: Array = base + 0.55 * _late_sigmoid(rng, runs, rungs)
    return means


ORDINARY: Mapping[str, Means] = {
    "power_law": _power_law,
    "crossing": _crossing,
    "overfitting": _overfitting,
    "flat": _flat,
    "warm_base": _warm_base,
}
LATE: Mapping[str, Means] = {"one_rung_lag": _one_rung_lag, "late_sigmoid": _late_sigmoid}
UNSEEN: Mapping[str, Means] = {
    "log_linear": _log_linear,
    "weibull": _weibull,
    "diverging": _diverging,
    "noisy_rise": _noisy_rise,
}
UNSEEN_LATE: Mapping[str, Means] = {
    "two_rung_lag": _two_rung_lag,
    "warm_late": _warm_late,
}
FAMILIES: Mapping[str, Means] = {**ORDINARY, **LATE, **UNSEEN, **UNSEEN_LATE}
