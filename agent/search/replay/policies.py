"""The policies a replay compares: ours, Optuna's pruners, the mandatory baselines, an oracle."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage

from agent.config.rules import PRUNERS, unknown_name
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.search import paired_pruner
from agent.search.paired_test import Peer, Rule, Standing, judge
from agent.search.pruners import build_pruner
from agent.search.replay import batch
from agent.search.replay.curves import Stratum
from agent.search.replay.simulation import Policy, run_in_steps

BASELINES = ("oracle", "wandb_hyperband", "top_1", "top_2", "top_3")
NAMES = (*PRUNERS, *BASELINES)


def policy(name: str, *, warmup: int, options: Mapping[str, Any] | None = None) -> Policy:
    """A policy by its name, with options for the pruners. ConfigError for what is unknown."""
    if name not in NAMES:
        raise ConfigError([unknown_name(name, NAMES, "pruner")], where="replay")
    given = dict(options or {})
    if name.startswith("top_"):
        return _top(int(name.removeprefix("top_")), max(1, warmup))
    if name == "oracle":
        return lambda s, order, workers: run_in_steps(s, order, workers, Oracle(s, warmup))
    if name == "wandb_hyperband":
        eta = float(given.get("eta", 3))
        return lambda s, order, workers: run_in_steps(
            s, order, workers, WandbHyperband(s, warmup, eta)
        )
    config = RunConfig.parse(
        {
            "model_variant": "Full LoRA",
            "dataset": "replayed",
            "learning_rate": 1e-4,
            "pruner": name,
            "pruner_warmup": warmup,
            "pruner_options": given,
        }
    )
    # Complains about options now, not in the middle.
    if isinstance(known := build_pruner(config, rungs=2, peers=None), paired_pruner.PairedPruner):
        return PairedPolicy(known.rule)

    def run(stratum: Stratum, order: Sequence[int], workers: int) -> list[int]:
        pruner = build_pruner(config, rungs=stratum.rungs, peers=len(stratum.curves))
        return run_in_steps(stratum, order, workers, Optuna(stratum, pruner, order))

    return run


@dataclass(frozen=True)
class PairedPolicy:
    """The paired comparison; `batch` gives the same for many orders, faster."""

    rule: Rule

    def __call__(self, stratum: Stratum, order: Sequence[int], workers: int) -> list[int]:
        session = Paired(stratum, replace(self.rule, rungs=stratum.rungs))
        return run_in_steps(stratum, order, workers, session)

    def batch(self, strata: Sequence[Stratum], orders: batch.Counts, workers: int) -> batch.Counts:
        rule = replace(self.rule, rungs=strata[0].rungs)
        why = np.stack([batch.reasons(stratum, rule) for stratum in strata])
        equal = np.stack([batch.equals(stratum) for stratum in strata])
        return batch.trained_rungs(why, equal, rule.first, orders, workers)


class Paired:
    """`paired_test.judge`, exactly as the pruner `paired` asks it."""

    def __init__(self, stratum: Stratum, rule: Rule) -> None:
        self._stratum = stratum
        self._rule = rule
        self._standing: dict[int, Standing] = {}
        self._rung: dict[int, int] = {}

    def report(self, curve: int, rung: int) -> None:
        self._standing[curve] = "running"
        self._rung[curve] = rung

    def prunes(self, curve: int) -> bool:
        curves = self._stratum.curves
        peers = [
            Peer(
                curves[i].point,
                self._standing[i],
                dict(enumerate(curves[i].scores[: self._rung[i]], 1)),
            )
            for i in self._rung
        ]
        return judge(curves[curve].point, peers, self._rule, len(curves)).prune

    def end(self, curve: int, *, pruned: bool) -> None:
        self._standing[curve] = "pruned" if pruned else "complete"


class Optuna:
    """One of Optuna's pruners on a study in memory."""

    def __init__(
        self, stratum: Stratum, pruner: optuna.pruners.BasePruner, order: Sequence[int]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._stratum = stratum
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            study_name=f"{stratum.name} {order}",  # Hyperband draws its brackets from the name
            storage=self._storage,
            direction="maximize",
            pruner=pruner,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        self._trials: dict[int, optuna.Trial] = {}

    def report(self, curve: int, rung: int) -> None:
        if curve not in self._trials:
            self._trials[curve] = self._study.ask()
        trial = self._trials[curve]
        trial.report(self._stratum.curves[curve].means[rung - 1], rung)
        scores = self._stratum.curves[curve].scores[rung - 1]
        self._storage.set_trial_system_attr(
            trial._trial_id, f"{paired_pruner.SCORES}{rung}", scores.encode()
        )

    def prunes(self, curve: int) -> bool:
        return bool(self._trials[curve].should_prune())

    def end(self, curve: int, *, pruned: bool) -> None:
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        value = None if pruned else self._stratum.curves[curve].final
        self._study.tell(self._trials[curve], value, state=state)


class Oracle:
    """Knows every final score, and stops a run as soon as it is not the best of those that have
    been at the first rung of judgement; it never stops the current leader."""

    def __init__(self, stratum: Stratum, warmup: int) -> None:
        self._stratum = stratum
        self._first = max(1, warmup)
        self._seen: set[int] = set()
        self._rung: dict[int, int] = {}

    def report(self, curve: int, rung: int) -> None:
        self._rung[curve] = rung
        if rung >= self._first:
            self._seen.add(curve)

    def prunes(self, curve: int) -> bool:
        curves = self._stratum.curves
        leader = min(self._seen, key=lambda i: (-curves[i].final, curves[i].point), default=curve)
        return self._rung[curve] >= self._first and curve != leader

    def end(self, curve: int, *, pruned: bool) -> None:
        pass


class WandbHyperband:
    """W&B's early_terminate hyperband: at min_iter x eta^k a run must be in the best 1/eta.

    A run's value at a band is its best so far; every run that got there counts. W&B asks every few
    minutes and mixes all strata of a sweep; here it asks at each rung and inside one stratum, both
    in its favour.
    """

    def __init__(self, stratum: Stratum, min_iter: int, eta: float) -> None:
        self._stratum = stratum
        self._eta = eta
        self._rung: dict[int, int] = {}
        bands = (max(1, min_iter) * eta**k for k in itertools.count())
        self._bands = list(itertools.takewhile(lambda b: b < stratum.rungs, map(int, bands)))

    def report(self, curve: int, rung: int) -> None:
        self._rung[curve] = rung

    def prunes(self, curve: int) -> bool:
        reached = [band for band in self._bands if band <= self._rung[curve]]
        if not reached:
            return False
        band = reached[-1]
        there = sorted(self._best(i, band) for i in self._rung if self._rung[i] >= band)
        kept = math.ceil(len(there) / self._eta)
        return self._best(curve, self._rung[curve]) < there[-kept]

    def _best(self, curve: int, rung: int) -> float:
        return max(self._stratum.curves[curve].means[:rung])

    def end(self, curve: int, *, pruned: bool) -> None:
        pass


def _top(count: int, first: int) -> Policy:
    """Everybody to the first rung, then the best `count` to the end, whatever the workers."""

    def run(stratum: Stratum, _order: Sequence[int], _workers: int) -> list[int]:
        curves = stratum.curves
        rung = min(first, stratum.rungs)
        ranked = sorted(
            range(len(curves)), key=lambda i: (-curves[i].means[rung - 1], curves[i].point)
        )
        return [stratum.rungs if i in ranked[:count] else rung for i in range(len(curves))]

    return run
