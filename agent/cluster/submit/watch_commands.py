"""`sweep-agent status` and `logs`."""

import argparse
import os
from collections import deque
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.options import ACCESS
from agent.cluster.slurm import Task
from agent.cluster.submit.array import access_of
from agent.cluster.submit.commands import add_option_arguments, options_of
from agent.cluster.submit.status import SweepStatus, status_lines
from agent.cluster.sweep_records import SweepRecord, SweepRecords
from agent.errors import ClusterError
from agent.tracking.reader import Reader


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweeps", nargs="*", metavar="SWEEP_OR_PROJECT",
        help="ENTITY/PROJECT/SWEEP or ENTITY/PROJECT; else every sweep submitted from here",
    )  # fmt: skip
    add_option_arguments(parser, ACCESS)


def run_status(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    records = SweepRecords(Path(options.state_dir)).all()
    chosen = _choose(records, args.sweeps)
    if not chosen:
        raise ClusterError(
            f"no sweep was submitted from here ({options.state_dir}); name one: "
            "sweep-agent status ENTITY/PROJECT/SWEEP"
        )
    reader = Reader(access_of(options))
    statuses = []
    for record in chosen:
        state, expected = reader.sweep_state(record.sweep)
        runs = reader.runs_of_sweep(record.sweep)
        tasks, hours = _tasks(record)
        statuses.append(SweepStatus(record.sweep, state, expected, runs, tasks, hours))
    print("\n".join(status_lines(statuses)))
    return 0


def _choose(records: list[SweepRecord], words: list[str]) -> list[SweepRecord]:
    """The records of the named sweeps and projects; a sweep from elsewhere has no jobs here."""
    if not words:
        return records
    known = {record.sweep: record for record in records}
    chosen: dict[str, SweepRecord] = {}
    for word in words:
        if word.count("/") == 2:
            chosen[word] = known.get(word, SweepRecord(word))
        else:
            chosen |= {s: r for s, r in known.items() if s.startswith(f"{word}/")}
    return list(chosen.values())


def _tasks(record: SweepRecord) -> tuple[list[Task], float | None]:
    """Tasks in the queue, and GPU hours by accounting; neither where Slurm cannot be asked."""
    try:
        return slurm.queue(record.jobs), slurm.accounted_gpu_hours(record.jobs)
    except ClusterError as error:
        print(f"({error})")
        return [], None


def add_logs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="ENTITY/PROJECT/RUN")
    parser.add_argument("--lines", type=int, default=200, help="from the end (default %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on as the log grows")
    add_option_arguments(parser, ACCESS)


def run_logs(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    run = Reader(access_of(options)).run(args.run)
    path = Path(str(run.config.get("slurm/log_path", "")))
    if not run.config.get("slurm/log_path"):
        raise ClusterError(f"{args.run} has recorded no log: it did not run as a Slurm job")
    if not path.is_file():
        raise ClusterError(f"the log of {args.run} is gone: {path}")
    if args.follow:
        os.execvp("tail", ["tail", "-n", str(args.lines), "-F", str(path)])
    print(f"# {path}")
    with path.open(encoding="utf-8", errors="replace") as file:
        print("".join(deque(file, maxlen=args.lines)), end="")
    return 0
