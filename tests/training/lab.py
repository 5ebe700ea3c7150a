"""The smallest real trainings: the shipped base model on a few examples of its own world."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.config import RunConfig
from agent.demo.data import TASKS, make_examples

BASE_MODEL = Path(__file__).parents[2] / "agent/demo/assets/base_model"

# (model_variant, quantization_strategy) of the five cells.
CELLS: tuple[tuple[str, str], ...] = (
    ("Full LoRA", "None"),
    ("LoRA+PTQ", "int8"),
    ("LoRA+PTQ", "int4"),
    ("QLoRA", "int4"),
    ("QLoRA", "int8"),
)


def write_examples(directory: Path, per_task: int = 16) -> Path:
    """The demo's three files, cut to `per_task` examples each."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        rows = make_examples(name)[:per_task]
        (directory / name).write_text(json.dumps(rows, indent=1))
    return directory


def make_config(root: Path, **values: Any) -> RunConfig:
    """A config with two evaluation points of four steps each on the examples under `root`."""
    data = root / "data"
    if not data.exists():
        write_examples(data)
    defaults = {
        "model_variant": "Full LoRA",
        "base_model": str(BASE_MODEL),
        "dataset": str(data),
        "validation_fraction": 0.25,
        "test_fraction": 0.1,
        "learning_rate": 5e-3,
        "epochs": 2,
        "batch_size": 8,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "max_length": 128,
        "max_new_tokens": 16,
        "eval_batch_size": 16,
        "store": str(root / "store"),
        "device": "cpu",
    }
    return RunConfig.parse({**defaults, **values})


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
