"""This project against plain loops of transformers and PEFT. `main()` returns the figures.

python -m tests.prove speed                 also writes them down; `make bench` is the same
python -m tests.prove speed.points_15       the demo's grid alone
python -m tests.prove speed.lengths         tokens a second of longer sequences alone
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.tools import bench
from tests.tools.gpu.lab import SIZES

WORKERS = 2


def main(names: Sequence[str] = ()) -> dict[str, object]:
    return {name: PROOFS[name]() for name in names or PROOFS}


def lengths() -> dict[str, object]:
    """What `make gpu` measures of the training step, on a CPU and a model that is small for a GPU
    but whose time goes into arithmetic: how many times the plain loop's tokens a second."""
    size = "small"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        words = f"tests.tools.gpu --device cpu --size {size} speed --out".split()
        subprocess.run(
            [sys.executable, "-m", *words, str(out)],
            cwd=bench.ROOT,
            env={**os.environ, **bench.OFFLINE},
            capture_output=True,
            check=True,
        )
        cases = json.loads(out.read_text())["cases"]
    ratios = {f"{name}_ratio": round(case["ratio"], 2) for name, case in cases.items()}
    shapes = {"short_tokens": SIZES[size].short, "long_tokens": SIZES[size].long}
    return {**ratios, **shapes, "mix_padding_share": cases["mix"]["ours"]["padding_share"]}


PROOFS: dict[str, Callable[[], object]] = {
    **{f"points_{count}": partial(bench.measure, count, WORKERS) for count in sorted(bench.RATES)},
    "lengths": lengths,
}
