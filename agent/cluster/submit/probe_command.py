"""`sweep-agent probe`: two steps and a validation batch of each cell, and the sweep's bill."""

import argparse
from pathlib import Path

from agent.cluster.submit import probe
from agent.cluster.submit.node_commands import distinct_looks
from agent.cluster.submit.status_text import table
from agent.cluster.submit.submission import check_files
from agent.config import sweep_yaml
from agent.errors import ClusterError, DataError
from agent.training import preflight


def add_probe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP.yaml")
    parser.add_argument(
        "--program", type=Path, default=Path("train.py"), help="what runs a point (%(default)s)"
    )


def run_probe(args: argparse.Namespace) -> int:
    check_files(args.sweeps)
    configs = [c for path in args.sweeps for c in sweep_yaml.configs(sweep_yaml.load(path))]
    estimates, failed = [], []
    seen: set[str] = set()
    for cell, points in probe.cells_of(configs).items():
        try:
            for config in distinct_looks(points):
                print("\n".join(preflight.examine(config).lines))
            print(f"{cell}: two steps and one validation batch …", flush=True)
            measured = probe.measure(points[0], args.program)
            estimates.append(probe.estimate(cell, points, measured, seen))
        except (ClusterError, DataError) as error:
            failed.append(f"{cell}: {error}")
    print("\n".join(table(probe.table_rows(estimates))))
    print("upper bounds: every record is taken to be as long as the longest that max_length admits")
    print("a training that several cells share is counted with the first of them")
    if failed:
        raise ClusterError("; ".join(failed))
    return 0
