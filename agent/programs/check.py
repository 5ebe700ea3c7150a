"""`sweep-agent check`: every fault of a sweep YAML, found on the login node in a second."""

import argparse
from pathlib import Path

from agent.config import sweep_yaml
from agent.errors import ConfigError


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP.yaml")
    parser.add_argument(
        "--no-files",
        action="store_true",
        help="do not look for the local files that the grid points name",
    )


def run_check(args: argparse.Namespace) -> int:
    problems: list[str] = []
    for path in args.sweeps:
        points, found = sweep_yaml.check(path, files=not args.no_files)
        problems += [f"{path}: {problem}" for problem in found]
        if not found:
            size = f"{points} grid points valid" if points else "valid at the ends of its ranges"
            if points > sweep_yaml.MAX_CHECKED_POINTS:
                size += f" as far as the first {sweep_yaml.MAX_CHECKED_POINTS} show"
            print(f"{path}: {size}")
            for note in sweep_yaml.notes(path):
                print(f"{path}: note: {note}")
    if problems:
        raise ConfigError(problems, where=f"{len(args.sweeps)} sweep file(s)")
    return 0
