"""Replays: what each policy saves and what it costs, over arrival orders and numbers of workers.

Per policy and number of workers, over all strata and orders:

- `deployments`: full budget / rungs trained, every curve counted (validation and serving);
- `trainings`: the same with curves that share a training counted once, for its longest;
- `oracle_share`: the rungs saved as a share of those an oracle saves at the same warm-up and
  workers, and `oracle_factor_share`, the ratio of the two saving factors;
- `cost`: what it trained, as a share of the full grid, plus what it lost, in hundredths of the
  final score: one whole grid is the price of `TOLERATED`;
- `regret`: final score of the full grid's winner − that of the run the policy leaves, mean, with
  a 95 % bootstrap interval over strata (orders of one stratum are not independent evidence);
- `kept`: share of cases with a regret of at most `TOLERATED`;
- `good_stopped`: chance that a run whose own regret is that small is stopped, which costs nothing
  where another such run is kept, and is the whole error of a rule where all runs are equal;
- `within_noise`: share of cases whose chosen run lies in the paired 95 % interval of the winner;
- `exact_winner`: share of cases that choose the winner itself, which is luck between near-equals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.search.replay.curves import Stratum
from agent.search.replay.policies import policy
from agent.search.replay.simulation import BatchPolicy, Policy, chosen_run

BOOTSTRAPS = 2000
TOLERATED = 0.01  # regret that counts as none


@dataclass(frozen=True)
class Row:
    """One policy with one number of workers; savings are factors, shares lie in 0…1."""

    policy: str
    warmup: int
    workers: int
    cases: int
    deployments: float
    trainings: float
    oracle_share: float
    oracle_factor_share: float
    regret: float
    regret_low: float
    regret_high: float
    kept: float
    good_stopped: float
    within_noise: float
    exact_winner: float

    @property
    def cost(self) -> float:
        return 1 / self.deployments + self.regret / TOLERATED

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "cost": self.cost}


@dataclass(frozen=True)
class Cases:
    """What one policy did: arrays of shape (strata, orders)."""

    rungs: npt.NDArray[np.float64]
    training_rungs: npt.NDArray[np.float64]  # shape (orders,), over all strata together
    regret: npt.NDArray[np.float64]
    good: npt.NDArray[np.float64]  # runs of tolerated regret
    good_stopped: npt.NDArray[np.float64]  # and how many of them were stopped
    within_noise: npt.NDArray[np.float64]
    exact: npt.NDArray[np.float64]


def replay(
    strata: Sequence[Stratum],
    names: Sequence[str],
    *,
    warmup: int,
    workers: Sequence[int],
    orders: int,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> list[Row]:
    """One row per policy and number of workers. The same seed gives the same orders."""
    return [
        replay_one(strata, name, warmup, count, orders, (options or {}).get(name), seed)
        for count in workers
        for name in names
    ]


def replay_one(
    strata: Sequence[Stratum],
    name: str,
    warmup: int,
    workers: int,
    orders: int,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Row:
    """The row of one policy with one number of workers."""
    chosen = policy(name, warmup=warmup, options=options)
    cases = run_cases(strata, chosen, workers, orders, seed)
    best = run_cases(strata, policy("oracle", warmup=warmup), workers, orders, seed)
    return _row(name, warmup, workers, strata, cases, best)


def run_cases(
    strata: Sequence[Stratum], chosen: Policy, workers: int, orders: int, seed: int
) -> Cases:
    """Run a policy on every stratum in `orders` random orders of arrival."""
    shape = (len(strata), orders)
    rungs, regret, good, stopped, noise, exact = (np.zeros(shape) for _ in range(6))
    trainings: list[dict[str, int]] = [{} for _ in range(orders)]
    permutations = [_orders(stratum, [seed, row], orders) for row, stratum in enumerate(strata)]
    played = _trained(chosen, strata, permutations, workers)
    for row, stratum in enumerate(strata):
        runs = range(len(stratum.curves))
        regrets = np.array([stratum.regret(i) for i in runs])
        near = [stratum.is_within_noise(i) for i in runs]
        is_good = regrets <= TOLERATED + 1e-9
        good[row] = is_good.sum()
        for column, trained in enumerate(played[row]):
            left = chosen_run(stratum, trained)
            rungs[row, column] = sum(trained)
            regret[row, column] = regrets[left]
            stopped[row, column] = (is_good & (np.array(trained) < stratum.rungs)).sum()
            noise[row, column] = near[left]
            exact[row, column] = left == stratum.winner
            for curve, length in zip(stratum.curves, trained, strict=True):
                longest = trainings[column]
                longest[curve.training] = max(longest.get(curve.training, 0), length)
    together = np.array([float(sum(longest.values())) for longest in trainings])
    return Cases(rungs, together, regret, good, stopped, noise, exact)


def _orders(stratum: Stratum, seed: list[int], count: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(len(stratum.curves)) for _ in range(count)])


def _trained(
    chosen: Policy,
    strata: Sequence[Stratum],
    orders: Sequence[npt.NDArray[np.int64]],
    workers: int,
) -> list[list[list[int]]]:
    """Rungs trained, by stratum, order and run."""
    if not isinstance(chosen, BatchPolicy):
        return [
            [chosen(stratum, [int(i) for i in order], workers) for order in own]
            for stratum, own in zip(strata, orders, strict=True)
        ]
    played: list[list[list[int]]] = [[] for _ in strata]
    shapes = [(len(stratum.curves), stratum.rungs) for stratum in strata]
    for shape in dict.fromkeys(shapes):
        rows = [row for row, own in enumerate(shapes) if own == shape]
        together = np.stack([orders[row] for row in rows])
        trained = chosen.batch([strata[row] for row in rows], together, workers)
        for row, own in zip(rows, trained.tolist(), strict=True):
            played[row] = own
    return played


def _row(
    name: str, warmup: int, workers: int, strata: Sequence[Stratum], cases: Cases, best: Cases
) -> Row:
    orders = cases.rungs.shape[1]
    full = float(sum(s.rungs * len(s.curves) for s in strata)) * orders
    full_trainings = sum({c.training: s.rungs for s in strata for c in s.curves}.values()) * orders
    spent, oracle_spent = float(cases.rungs.sum()), float(best.rungs.sum())
    low, high = bootstrap_interval(cases.regret)
    return Row(
        policy=name,
        warmup=warmup,
        workers=workers,
        cases=cases.rungs.size,
        deployments=full / spent,
        trainings=full_trainings / float(cases.training_rungs.sum()),
        oracle_share=(full - spent) / (full - oracle_spent) if full > oracle_spent else 1.0,
        oracle_factor_share=oracle_spent / spent,
        regret=float(cases.regret.mean()),
        regret_low=low,
        regret_high=high,
        kept=float((cases.regret <= TOLERATED + 1e-9).mean()),
        good_stopped=float(cases.good_stopped.sum() / cases.good.sum()),
        within_noise=float(cases.within_noise.mean()),
        exact_winner=float(cases.exact.mean()),
    )


def bootstrap_interval(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `values`, shape (strata, orders), by resampling strata."""
    per_stratum = values.mean(axis=1)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(per_stratum), (BOOTSTRAPS, len(per_stratum)))
    low, high = np.percentile(per_stratum[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def dominated_by(rows: Sequence[Row], ours: str = "paired") -> list[Row]:
    """The rows that beat ours on the plane of epochs saved against regret.

    Better or equal on both and better on one, at the same workers and warm-up. An oracle is no
    competitor.
    """
    mine = {(row.workers, row.warmup): row for row in rows if row.policy == ours}
    return [
        row
        for row in rows
        if row.policy not in (ours, "oracle")
        and (own := mine.get((row.workers, row.warmup))) is not None
        and row.deployments >= own.deployments
        and row.regret <= own.regret
        and (row.deployments > own.deployments or row.regret < own.regret)
    ]
