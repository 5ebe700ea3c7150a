"""`sweep-agent pretrain`: make the demo's base model again."""

import argparse
from pathlib import Path

from agent.errors import ConfigError
from agent.log_noise import quieten_libraries

BASE_MODEL = Path(__file__).parents[1] / "assets" / "base_model"
SEED, STEPS, BATCH_SIZE = 0, 400, 32


def add_pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=BASE_MODEL,
        metavar="DIR",
        help="where the model folder goes (default: the shipped one is replaced)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument(
        "--batch-size", type=int, default=BATCH_SIZE, help="documents a step; default: %(default)s"
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")


def run_pretrain(args: argparse.Namespace) -> int:
    problems = [
        f"--{name} = {value}: must be at least {least}"
        for name, value, least in (
            ("seed", args.seed, 0),
            ("steps", args.steps, 1),
            ("batch-size", args.batch_size, 1),
            ("threads", args.threads, 1),
        )
        if value < least
    ]
    if args.output.exists() and not args.output.is_dir():
        problems.append(f"--output = {str(args.output)!r}: is a file, not a directory")
    if problems:
        raise ConfigError(problems, where="the arguments")

    quieten_libraries()
    import torch  # after the checks: it takes seconds

    from agent.demo.pretraining.base_model import pretrain

    torch.set_num_threads(args.threads)
    record = pretrain(
        args.output, seed=args.seed, steps=args.steps, batch_size=args.batch_size, report=_report
    )
    print(f"{args.output}: {record['parameters']:,} parameters in {record['seconds']} s")
    return 0


def _report(line: str) -> None:
    print(line, flush=True)
