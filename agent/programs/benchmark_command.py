"""`sweep-agent benchmark`, one fresh process for each run, and `sweep-agent evaluate`.

A run that measures itself at its end (`benchmark_queries`) starts the same process.

No torch here: the processes load the models, this one only looks at the runs and starts them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent import signals
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.tracking.client import open_api
from agent.tracking.finished_runs import complete_runs, find, split_epoch

Start = Callable[[Sequence[str]], int]  # words after `python -m`, the exit status back


def run_process(words: Sequence[str]) -> int:
    """Run a module in a fresh interpreter and wait for it."""
    process = subprocess.Popen([sys.executable, "-m", *words])
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


# ---------------------------------------------------------------------- benchmark
def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN_OR_ARTIFACT",
        help="ENTITY/PROJECT/RUN of a finished training run, or its model artifact with :version",
    )
    parser.add_argument(
        "--all",
        metavar="SWEEP",
        action="append",
        default=[],
        help="ENTITY/PROJECT/SWEEP: every run that finished and was not pruned; repeatable",
    )
    parser.add_argument(
        "--queries", type=int, default=50, metavar="N", help="validation queries (default 50)"
    )
    parser.add_argument(
        "--only-missing",
        action="store_true",
        help="leave out runs measured before on this device, driver and library versions",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="this GPU's results take the plain inference/ keys of the training run",
    )
    _add_store(parser)


def run_benchmark(args: argparse.Namespace, start: Start = run_process) -> int:
    """0 when every run was measured, 1 when some were not (the others are)."""
    if args.queries < 1:
        raise ConfigError([f"--queries {args.queries}: must be 1 or more"], where="the options")
    runs = list(args.runs)
    for sweep in args.all:
        runs += complete_runs(open_api(), sweep)
    if not runs:
        raise ConfigError(["name a run, or a sweep with --all"], where="the options")
    options = ["--queries", str(args.queries), *_store_option(args)]
    options += ["--only-missing"] if args.only_missing else []
    options += ["--reference"] if args.reference else []
    return _run_each("agent.programs.benchmark", list(dict.fromkeys(runs)), options, start)


# ---------------------------------------------------------------------- at the end of a run
_ROOT = Path(__file__).resolve().parents[2]  # this very code, whatever lies in the directory
_OF_THE_TEAM = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
POLL_S = 0.2


def measure_own_run(path: str, config: RunConfig, start: Start | None = None) -> None:
    """Measure the run that has just ended in this process, in a process of its own.

    The run has its result already, so whatever happens here is one printed line and changes
    nothing: neither an exit status nor a state. A signal ends the measurement.
    """
    words = ["agent.programs.benchmark", path, "--queries", str(config.benchmark_queries)]
    status = (start or _run_beside)([*words, "--store", config.store])
    if status:
        print(
            f"train.py: the benchmark of {path} was not made (exit status {status}); "
            f"`sweep-agent benchmark {path}` makes it",
            file=sys.stderr,
        )


def _run_beside(words: Sequence[str]) -> int:
    """Run a module of this code until it or this process is to end."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_THE_TEAM and not name.startswith("TORCHELASTIC_")
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *words],
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
    )
    while process.poll() is None:
        if signals.requested():
            process.terminate()
            return process.wait()
        time.sleep(POLL_S)
    return process.returncode


# ---------------------------------------------------------------------- evaluate
def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="ENTITY/PROJECT/RUN, chosen before; RUN@EPOCH for an earlier evaluation point",
    )
    parser.add_argument(
        "--choices",
        type=Path,
        metavar="FILE.json",
        help="the chosen runs at their chosen points, as `sweep-agent select --out` writes them",
    )
    parser.add_argument("--test", action="store_true", help=argparse.SUPPRESS)  # until 0.1
    parser.add_argument(
        "--again", action="store_true", help="score a run again that has test scores; it is counted"
    )
    _add_store(parser)


def run_evaluate(args: argparse.Namespace, start: Start = run_process) -> int:
    """Score chosen runs once on the test split. Nothing is scored when any of them was before."""
    runs = list(dict.fromkeys([*args.runs, *(read_choices(args.choices) if args.choices else [])]))
    if not runs:
        problem = "name the runs, or give --choices FILE.json of `sweep-agent select --out`"
        raise ConfigError([problem], where="the options")
    if not args.again:
        _refuse_second_looks(runs)
    options = [*_store_option(args), *(["--again"] if args.again else [])]
    return 1 if start(["agent.programs.test_split_scores", *runs, *options]) else 0


def read_choices(path: Path) -> list[str]:
    """Runs of a file of choices, as RUN@EPOCH where that is not their last point.

    ConfigError when the file is none of `sweep-agent select`.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return [
            str(run) + ("" if choice["is_final"] else f"@{float(choice['epoch']):.12g}")
            for choice in (item["chosen"] for item in record["selections"])
            if choice
            for run in choice["runs"]
        ]
    except OSError as error:
        raise ConfigError([f"{error.strerror or error}"], where=str(path)) from None
    except (ValueError, KeyError, TypeError):
        problem = (
            "is not a file of choices; `sweep-agent select PROJECT --out FILE.json` writes one"
        )
        raise ConfigError([problem], where=str(path)) from None


def _refuse_second_looks(runs: Sequence[str]) -> None:
    api = open_api()
    found = [find(api, split_epoch(run)[0]) for run in runs]
    scored = [run.path for run in found if run.summary.get("test/f1_score") is not None]
    if scored:
        problems = [
            f"{path} was scored on the test split before; --again scores it again"
            for path in scored
        ]
        raise ConfigError(problems, where="the runs to test")


# ---------------------------------------------------------------------- both
def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", metavar="DIR", help="training store; the one in the run's config when not given"
    )


def _store_option(args: argparse.Namespace) -> list[str]:
    return ["--store", args.store] if args.store else []


def _run_each(
    module: str,
    runs: Sequence[str],
    options: Sequence[str],
    start: Start,
) -> int:
    failed = []
    for number, run in enumerate(runs, start=1):
        print(f"[{number}/{len(runs)}] {run}", flush=True)
        if start([module, run, *options]):
            failed.append(run)
    if failed:
        print(f"{len(failed)} of {len(runs)} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
