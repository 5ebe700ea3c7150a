"""`sweep-agent replay`: what pruners would have saved, and lost, on finished curves."""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agent.config.rules import PAIRED
from agent.errors import ConfigError, ReportError
from agent.results.outcome import Outcome, outcome_of
from agent.search.replay import curves, families
from agent.search.replay.curve_sources import from_runs, from_storage
from agent.search.replay.picture import draw
from agent.search.replay.policies import NAMES, policy
from agent.search.replay.replay import Row, dominated_by, replay_one
from agent.search.storages import open_storage, shown, storage_errors
from agent.tracking.project_runs import runs_of_sweep

SHOWN = (
    "oracle",
    "paired",
    "paired_patient",
    "paired_bold",
    "median",
    "successive_halving",
    "hyperband",
    "wandb_hyperband",
    "top_1",
    "top_2",
    "none",
)


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="entity/project/sweep, run with pruner: none"
    )
    source.add_argument("--curves", type=Path, metavar="FILE", help="a file of finished curves")
    source.add_argument(
        "--storage", metavar="PLACE", help="the pruning storage of a sweep: journal path or URL"
    )
    source.add_argument(
        "--family",
        type=_names,
        metavar="A,B",
        help="made-up curves whose truth is known, of: " + ", ".join(families.FAMILIES),
    )
    parser.add_argument(
        "--examples", type=int, default=200, metavar="N", help="of --family (default 200)"
    )
    parser.add_argument(
        "--strata", type=int, default=20, metavar="N", help="of each --family (default 20)"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the curves that were read to a file"
    )
    parser.add_argument(
        "--pruners",
        type=_names,
        default=SHOWN,
        metavar="A,B",
        help="what to replay, of: " + ", ".join(NAMES),
    )
    parser.add_argument(
        "--options",
        type=json.loads,
        default={},
        metavar="JSON",
        help='arguments by pruner, like {"paired": {"level": 0.01}}',
    )
    parser.add_argument(
        "--warmup",
        type=_numbers,
        default=[1, 2],
        metavar="N,N",
        help="rungs before the first decision (default 1,2)",
    )
    parser.add_argument(
        "--workers", type=_numbers, default=[1, 4, 8], metavar="N,N", help="default 1,4,8"
    )
    parser.add_argument(
        "--orders", type=int, default=20, metavar="N", help="orders of arrival (default 20)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture (png, svg)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes"
    )


def run_replay(args: argparse.Namespace) -> int:
    """Print one line per pruner, warm-up and number of workers."""
    if min(args.orders, args.jobs, args.strata) < 1 or args.examples < 2:
        faults = ["--orders, --jobs and --strata must be at least 1, --examples at least 2"]
        raise ConfigError(faults, where="replay")
    if args.save and args.family:
        raise ConfigError(
            ["--save keeps curves that were read; --family makes them"], where="replay"
        )
    for name in args.pruners:
        policy(name, warmup=1, options=args.options.get(name))
    strata = _strata(args)
    points = sum(len(stratum.curves) for stratum in strata)
    print(f"{len(strata)} strata, {points} curves of {strata[0].rungs} rungs")
    rows = _replay(strata, args)
    print(table(rows))
    for line in lessons(rows):
        print(line)
    if args.json:
        _write_text(args.json, json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    if args.picture:
        draw(rows, args.picture)
    return 0


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, with what the columns mean below."""
    head = (
        f"{'pruner':20} {'warm-up':>7} {'workers':>7} {'deploy':>7} {'train':>7} {'of oracle':>9} "
        f"{'regret [95 % interval]':>26} {'kept':>6} {'good stopped':>12} {'in noise':>8} "
        f"{'winner':>6} {'cost':>5}"
    )
    lines = [
        f"{row.policy:20} {row.warmup:7} {row.workers:7} {row.deployments:6.2f}x "
        f"{row.trainings:6.2f}x {row.oracle_share:9.0%} "
        f"{row.regret:9.4f} [{row.regret_low:.4f}, {row.regret_high:.4f}] "
        f"{row.kept:6.1%} {row.good_stopped:12.0%} {row.within_noise:8.1%} "
        f"{row.exact_winner:6.0%} {row.cost:5.2f}"
        for row in rows
    ]
    foot = (
        "deploy, train: full grid / what was run, in evaluation points of deployments and of\n"
        "trainings; of oracle: points saved, as a share of what an oracle saves that never stops\n"
        "the leader; kept: regret at most 0.01; good stopped: chance that a run within 0.01 of\n"
        "the best is stopped, no loss where another one is kept; in noise: chosen run inside\n"
        "the paired 95 % interval of the grid's winner; cost: what was run, in grids, plus the\n"
        "regret in hundredths: a whole grid is the price of 0.01"
    )
    return "\n".join([head, *lines, foot])


def lessons(rows: Sequence[Row]) -> list[str]:
    """What the rows say about the choice: where ours works, what beats it, what costs least."""
    lines = [
        f"{name}: saves {min(r.oracle_share for r in own):.0%} to "
        f"{max(r.oracle_share for r in own):.0%} of what an oracle saves and keeps the winner in "
        f"at least {min(r.kept for r in own):.1%}; stops a good run with chance "
        f"{max(r.good_stopped for r in own):.0%} at most"
        for name in PAIRED
        if (own := [row for row in rows if row.policy == name])
    ]
    lines += [
        f"{row.policy} saves no less than paired, at no more regret ({_case(row)})"
        for row in dominated_by(rows)
    ]
    cases = dict.fromkeys(_case(row) for row in rows)
    for case in cases:
        choices = [row for row in rows if _case(row) == case and row.policy != "oracle"]
        best = min(choices, key=lambda row: row.cost, default=None)
        if best is not None and len(choices) > 1:
            lines.append(f"least cost ({case}): {best.policy}, {best.cost:.2f} grids")
    return lines


def _strata(args: argparse.Namespace) -> list[curves.Stratum]:
    if args.family:
        return [
            families.made(family, number, examples=args.examples)
            for family in args.family
            for number in range(args.strata)
        ]
    if args.curves:
        return curves.load(args.curves)
    if args.storage:
        place = args.storage if "://" in args.storage else str(Path(args.storage).resolve())
        where = shown(place)
        if "://" not in place and not Path(place).exists():
            raise ConfigError([f"{place}: no such journal"], where="--storage")
        storage = open_storage(place, Path(place))
        with storage_errors(where):
            items = from_storage(storage)
    else:
        runs = [run for run in runs_of_sweep(args.sweep) if _has_a_curve(run)]
        where, items = args.sweep, from_runs(runs, where=args.sweep)
    strata = curves.parse(items, where=where)
    if args.save:
        curves.save(args.save, items, made_by="sweep-agent replay --save")
    return strata


def _has_a_curve(run: Any) -> bool:
    """A pruned run may stay (the replay sees that its curve is short); a diverged or void one has
    nothing to compare."""
    outcome = outcome_of(str(run.state), run.tags or ())
    return outcome not in (Outcome.DIVERGED, Outcome.INVALID)


def _replay(strata: Sequence[curves.Stratum], args: argparse.Namespace) -> list[Row]:
    tasks = list(itertools.product(args.warmup, args.workers, args.pruners))
    one = partial(_one, strata, args.orders, args.options)
    if args.jobs == 1:
        return [one(task) for task in tasks]
    rows = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for number, row in enumerate(pool.map(one, tasks), 1):
            rows.append(row)
            if sys.stderr.isatty():
                print(f"\r{number} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return rows


def _one(
    strata: Sequence[curves.Stratum],
    orders: int,
    options: dict[str, Any],
    task: tuple[int, int, str],
) -> Row:
    warmup, workers, name = task
    return replay_one(strata, name, warmup, workers, orders, options.get(name))


def _write_text(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from None


def _case(row: Row) -> str:
    return f"warm-up {row.warmup}, {row.workers} workers"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in _names(text)]
