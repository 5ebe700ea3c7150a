"""Every check on this machine's GPU, a JSON line each, in at most eight minutes and without
internet.

    python -m tests.tools.gpu                               as `make gpu` runs it
    python -m tests.tools.gpu --device cpu --size tiny      the same code, to see that it runs
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from agent.log_noise import quieten_libraries
from tests.tools.gpu.checks import CHECKS
from tests.tools.gpu.lab import SIZES, Lab, as_line, card

BUDGET_S = 480.0


def main(words: Sequence[str]) -> int:
    """0 when every check passed, 1 when one did not or had no time left, 2 without the device."""
    parser = argparse.ArgumentParser(prog="tests.tools.gpu", allow_abbrev=False)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=tuple(SIZES), default="1.5b")
    parser.add_argument("--out", type=Path, help="also write the lines here")
    args = parser.parse_args(list(words))
    if unknown := sorted(set(args.checks) - set(CHECKS)):
        print(f"unknown check {unknown[0]!r}; known: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    if args.device == "cuda" and not torch.cuda.is_available():
        print(
            "this machine has no usable CUDA device; --device cpu --size tiny runs the same code",
            file=sys.stderr,
        )
        return 2
    quieten_libraries()
    if args.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="gpu-checks-") as folder:
        lines = run(Lab(Path(folder), torch.device(args.device), SIZES[args.size]), args.checks)
    if args.out:
        args.out.write_text("".join(f"{as_line(line)}\n" for line in lines))
    return 0 if all(line["passed"] for line in lines) else 1


def run(lab: Lab, names: Sequence[str] = ()) -> list[dict[str, object]]:
    """The named checks, or all; one that fails or finds no time left is said so, and the others
    still run."""
    started = time.monotonic()
    lab.prepare()
    lines: list[dict[str, object]] = []
    for name in names or CHECKS:
        began = time.monotonic()
        if began - started > BUDGET_S:
            figures: dict[str, object] = {"passed": False, "error": "no time was left"}
        else:
            try:
                figures = CHECKS[name](lab)
            except Exception as error:  # any of them: this check has failed
                traceback.print_exc()
                figures = {"passed": False, "error": f"{type(error).__name__}: {error}"}
            lab.clean()
        line = {"check": name, "card": card(lab.device), **figures}
        lines.append({**line, "seconds": time.monotonic() - began})
        print(as_line(lines[-1]), flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
