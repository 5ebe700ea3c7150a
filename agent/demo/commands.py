"""`sweep-agent demo`: a whole study on this machine, without account and without internet."""

import argparse
from pathlib import Path


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/demo"),
        help="where results go (default %(default)s)",
    )
    parser.add_argument(
        "--sweeps",
        type=Path,
        default=Path("sweeps/demo"),
        help="directory of the sweep YAMLs (default %(default)s)",
    )
    parser.add_argument(
        "--agents",
        type=int,
        metavar="N",
        help="wandb agents at once (default: two more than cores, no more than grid points)",
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=12,
        metavar="N",
        help="benchmark the inference of every finished run on N queries (default %(default)s; "
        "0 leaves it out)",
    )
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="keep the store of an earlier demo: grid points that exist are read, not repeated",
    )


def run_demo(args: argparse.Namespace) -> int:
    from agent.demo.runner import Demo  # wandb is imported only when the demo really runs

    return Demo(args.out, args.sweeps, args.agents, queries=args.queries, reuse=args.reuse).run()
