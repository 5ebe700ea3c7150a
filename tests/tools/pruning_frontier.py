"""What pruning rules save against the winners they lose, on made-up families and real curves.

    python -m tests.tools.pruning_frontier               about ten minutes on two idle cores
    python -m tests.tools.pruning_frontier paired …      these rules only; the others' rows are kept

*Development*: strata 0… of `ORDINARY` and `LATE`, on which every rule is run with all of its
settings; the default is the lowest level of the cheapest ones there, by the expected cost of
regret. *Report*: strata 1000… of the same families, families that no rule was developed on, and
the half of the real trainings that was left aside, for the rules as they ship. Writes
`docs/pruning_frontier.json` and `.png`; the README's table is made from them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from agent import files
from agent.config.rules import PAIRED
from agent.search.replay import curves, families
from agent.search.replay.curves import Stratum
from agent.search.replay.policies import policy
from agent.search.replay.replay import TOLERATED, run_cases
from agent.search.replay.simulation import BatchPolicy, Policy
from tests.tools import other_pruning_rules as others
from tests.tools.frontier_picture import draw

ROOT = Path(__file__).resolve().parents[2]
CURVES = ROOT / "tests" / "search" / "curves.json.gz"
OUT = ROOT / "docs" / "pruning_frontier.json"
EXAMPLES = (64, 200, 500)
WORKERS = (1, 4, 8)
JOBS = 2  # processes
SCREENING = 0.1  # of the final score: what a whole grid is worth where time is what counts
REPORTED = 1000  # number of the first stratum of a family that is only reported on
KNOWN = (*families.ORDINARY, *families.LATE)
SHIPPED = (
    "paired",
    "paired_patient",
    "paired_bold",
    "median",
    "percentile",
    "successive_halving",
    "hyperband",
    "wilcoxon",
    "wandb_hyperband",
    "top_1",
    "top_2",
    "top_3",
    "none",
)


@dataclass(frozen=True)
class Counts:
    """Strata and orders; rules that are asked run by run, in Optuna's own code, get fewer."""

    strata: int
    orders: int
    slow_strata: int
    slow_orders: int


DEVELOPMENT = Counts(10, 5, 3, 3)
REPORT = Counts(20, 20, 3, 3)


@dataclass(frozen=True)
class Setting:
    """A rule with one of its settings."""

    rule: str
    label: str
    options: tuple[tuple[str, float], ...] = ()

    def policy(self, warmup: int) -> Policy:
        values = dict(self.options)
        if self.rule == "hope for half of the last gain":
            return others.hopeful(values["level"], 0.4, warmup)
        if self.rule == "lag of one rung":
            return others.lagging(values["level"], 1, warmup)
        if self.rule == "posterior curves":
            return others.posterior(values["chance"], warmup)
        name = self.label if self.rule == "first rung, then top K" else self.rule
        return policy(name, warmup=warmup, options=values)


def settings() -> list[Setting]:
    """Every rule with all of its settings."""
    swept: dict[str, tuple[str, Sequence[float]]] = {
        "paired": ("level", (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)),
        "hope for half of the last gain": ("level", (0.05, 0.2, 0.8)),
        "lag of one rung": ("level", (0.02, 0.1, 0.4)),
        "posterior curves": ("chance", (0.03, 0.1, 0.25)),
        "successive_halving": ("reduction_factor", (2, 3, 4)),
        "wandb_hyperband": ("eta", (2, 3, 4)),
        "percentile": ("percentile", (25, 50, 75)),
    }
    found = [
        Setting(rule, f"{option} {value:g}", ((option, value),))
        for rule, (option, values) in swept.items()
        for value in values
    ]
    found += [
        Setting("paired", f"doubt {doubt:g}", (("doubt", doubt),)) for doubt in (0.1, 0.15, 0.35)
    ]
    found += [Setting("first rung, then top K", f"top_{k}") for k in (1, 2, 3)]
    found += [
        Setting("paired_bold", f"bold, level {level:g}", (("level", level),))
        for level in (0.2, 0.5, 0.8, 0.95)
    ]
    found += [
        Setting("paired_bold", f"bold, doubt {doubt:g}", (("doubt", doubt),))
        for doubt in (0.35, 0.5)
    ]
    return [*found, Setting("paired_patient", "patient"), Setting("none", "none")]


@lru_cache(maxsize=64)
def strata_of(family: str, first: int, count: int) -> tuple[Stratum, ...]:
    """Strata of a family, of every number of examples; of real trainings for "real"."""
    if family == "real":
        return real_half(developed_on=first < REPORTED)
    return tuple(
        families.made(family, first + number, examples=examples)
        for examples in EXAMPLES
        for number in range(count)
    )


def real_half(*, developed_on: bool) -> tuple[Stratum, ...]:
    """Seed 0 and QLoRA's seed 1 were developed on, the others are reported: no training is in
    both halves."""
    found = curves.load(CURVES)
    return tuple(s for s in found if _is_of_development(s.name) == developed_on)


def _is_of_development(name: str) -> bool:
    return "seed=0" in name or ("seed=1" in name and "QLoRA" in name)


def measure(
    setting: Setting, warmup: int, first: int, counts: Counts, family: str
) -> dict[str, Any]:
    """What a rule saves and loses on one family, over the numbers of examples and of workers."""
    chosen = setting.policy(warmup)
    is_fast = isinstance(chosen, BatchPolicy) or setting.rule in ("none", "first rung, then top K")
    strata = strata_of(family, first, counts.strata if is_fast else counts.slow_strata)
    orders = counts.orders if is_fast else counts.slow_orders
    full = sum(s.rungs * len(s.curves) for s in strata) * orders
    rows = []
    for workers in WORKERS:
        cases = run_cases(strata, chosen, workers, orders, 0)
        oracle = _oracle_rungs(family, first, len(strata), warmup, workers, orders)
        rows.append(
            {
                "share": (full - cases.rungs.sum()) / (full - oracle),
                "spent": cases.rungs.sum() / full,
                "kept": (cases.regret <= TOLERATED + 1e-9).mean(),
                "regret": cases.regret.mean(),
                "good_stopped": cases.good_stopped.sum() / cases.good.sum(),
            }
        )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "good_stopped": float(max(row["good_stopped"] for row in rows))}


@lru_cache(maxsize=1024)
def _oracle_rungs(
    family: str, first: int, count: int, warmup: int, workers: int, orders: int
) -> float:
    strata = strata_of(family, first, count if family == "real" else count // len(EXAMPLES))
    return float(run_cases(strata, policy("oracle", warmup=warmup), workers, orders, 0).rungs.sum())


def summary(by_family: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The figures of a rule: over ordinary families, late ones, and the cost over both."""
    ordinary = [by_family[name] for name in families.ORDINARY]
    late = [by_family[name] for name in families.LATE]

    def cost(price: float) -> float:
        """Grids trained, plus the regret when a grid is worth `price` of the final score."""
        return float(np.mean([r["spent"] + r["regret"] / price for r in [*ordinary, *late]]))

    return {
        "share": float(np.mean([row["share"] for row in ordinary])),
        "kept": float(np.mean([row["kept"] for row in ordinary])),
        "least_kept": min(row["kept"] for row in ordinary),
        "least_kept_late": min(row["kept"] for row in late),
        "equal_stopped": by_family["flat"]["good_stopped"],
        "cost": cost(TOLERATED),
        "cost_screening": cost(SCREENING),
    }


Task = tuple[Setting, int, int, Counts, tuple[str, ...]]


def _row(task: Task) -> dict[str, Any]:
    setting, warmup, first, counts, names = task
    found = {name: measure(setting, warmup, first, counts, name) for name in names}
    return {
        "rule": setting.rule,
        "setting": setting.label,
        "warmup": warmup,
        **summary(found),
        "families": found,
    }


def frontier(counts: Counts = DEVELOPMENT) -> list[Task]:
    """Every rule and setting on the development strata, at warm-up 1."""
    return [(s, 1, 0, counts, (*KNOWN, "real")) for s in settings()]


def report(counts: Counts = REPORT) -> list[Task]:
    """The rules as they ship on what they were not developed on, at warm-up 1; ours at 2, too."""
    names = (*KNOWN, *families.UNSEEN, *families.UNSEEN_LATE, "real")
    shipped = [
        Setting("first rung, then top K", name) if name.startswith("top_") else Setting(name, name)
        for name in SHIPPED
    ]
    tasks = [(s, 1, REPORTED, counts, names) for s in shipped]
    return tasks + [(s, 2, REPORTED, counts, names) for s in shipped if s.rule.startswith("paired")]


def _rows(
    tasks: Sequence[Task], rules: Sequence[str], known: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each task: measured, or as `known` where `rules` are given without its own. The
    seeds are fixed, so a rule that did not change would give the same row again."""
    same = {(row["rule"], row["setting"], row["warmup"]): row for row in known if rules}
    found = [None if s.rule in rules else same.get((s.rule, s.label, w)) for s, w, *_ in tasks]
    missing = [task for task, row in zip(tasks, found, strict=True) if row is None]
    with ProcessPoolExecutor(JOBS, mp_context=get_context("spawn")) as pool:
        measured = pool.map(_row, missing)
        rows = [row or next(measured) for row in found]
    return [{**summary(row["families"]), **row} for row in rows]


def equal_runs(first: int = REPORTED, strata: int = 60, orders: int = 5) -> dict[str, Any]:
    """The chance that one of eight equal runs is stopped: the largest over examples, workers."""
    worst: dict[str, float] = {}
    for examples in EXAMPLES:
        flat = [families.made("flat", first + i, examples=examples) for i in range(strata)]
        for name in PAIRED:
            for workers in WORKERS:
                cases = run_cases(flat, policy(name, warmup=1), workers, orders, 0)
                share = float(cases.good_stopped.sum() / cases.good.sum())
                worst[name] = max(worst.get(name, 0.0), share)
    return worst


def main(rules: Sequence[str] = ()) -> dict[str, Any]:
    """Measure all rules, or those named, and write data and picture."""
    known = json.loads(OUT.read_text()) if rules else {"frontier": [], "report": []}
    if unknown := sorted(set(rules) - {s.rule for s, *_ in [*frontier(), *report()]}):
        raise SystemExit(f"no such rule on the frontier: {unknown[0]!r}")
    found = {
        "command": "python -m tests.tools.pruning_frontier",
        "tolerated_regret": TOLERATED,
        "frontier": _rows(frontier(), rules, known["frontier"]),
        "report": _rows(report(), rules, known["report"]),
        "equal_runs_stopped": equal_runs(),
    }
    rounded = json.loads(json.dumps(found), parse_float=partial(_rounded))
    files.write_json(OUT, rounded)
    draw(rounded, OUT.with_suffix(".png"))
    return dict(rounded)


def _rounded(text: str) -> float:
    return round(float(text), 4)


if __name__ == "__main__":
    main(sys.argv[1:])
