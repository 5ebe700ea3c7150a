"""`sweep-agent check`: every fault of a sweep YAML, found on the login node in a second."""

import argparse
from pathlib import Path

from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.training import preflight


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP.yaml")
    parser.add_argument(
        "--no-files",
        action="store_true",
        help="do not look for the local files that the grid points name, nor into their data",
    )


def run_check(args: argparse.Namespace) -> int:
    problems: list[str] = []
    configs: list[RunConfig] = []
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
            if not args.no_files:
                configs += sweep_yaml.configs(sweep_yaml.load(path), where=str(path))
    lines, faults = preflight.check_local_data(configs)
    for line in lines:
        print(line)
    problems += faults
    if problems:
        raise ConfigError(problems, where=f"{len(args.sweeps)} sweep file(s)")
    return 0
