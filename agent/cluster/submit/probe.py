"""What a sweep will cost, before it is started: each cell once, on its longest records.

The real train.py runs two optimizer steps and one validation batch per cell, in a store of its
own that is thrown away. Everything is read from what it stored.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import files
from agent.cluster.submit.plan import training_name
from agent.config.run_config import RunConfig, is_path
from agent.errors import ClusterError

STEPS = 2


@dataclass(frozen=True)
class Measured:
    """What one cell took on its longest records."""

    step_s: float
    validation_s: float  # one batch, with loading the deployed form
    peak_vram_gb: float | None  # None where there is no such memory
    point_gb: float  # one evaluation point in the store


@dataclass(frozen=True)
class Estimate:
    """One cell scaled up to the whole sweep. Upper bounds: every record as long as the longest."""

    cell: str
    points: int
    trainings: int
    hours_per_point: float
    gpu_hours: float
    store_gb: float
    peak_vram_gb: float | None


def longest_records(path: Path, count: int) -> list[dict[str, Any]]:
    """The `count` longest records of a JSON array or JSONL file, by characters."""
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            records = json.loads(text)
    except ValueError as error:
        raise ClusterError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(records, list) or not records:
        raise ClusterError(f"{path}: holds no list of records")
    return sorted(records, key=lambda record: -len(json.dumps(record)))[:count]


def count_records(dataset: str) -> int:
    """How many records a local data set has."""
    return sum(len(longest_records(path, 10**9)) for path in data_files(dataset))


def data_files(dataset: str) -> list[Path]:
    """The files behind a `dataset` value. ClusterError for a data set that is not on this disk."""
    found: list[Path] = []
    for part in (word.strip() for word in dataset.split(",")):
        path = Path(part).expanduser()
        if not is_path(part) or not path.exists():
            raise ClusterError(
                f"dataset = {part!r} is not a local file; probe needs one: run `sweep-agent "
                "prepare`, or name a JSON or JSONL file"
            )
        found += sorted(p for p in path.glob("*.json*")) if path.is_dir() else [path]
    return found


def write_longest(dataset: str, directory: Path, count: int) -> None:
    """The longest records of each file under its own name, which may tell its task."""
    directory.mkdir(parents=True)
    paths = data_files(dataset)
    each = max(math.ceil(count / len(paths)), 1)
    for path in paths:
        records = longest_records(path, each)
        while len(records) < each:
            records = (records * 2)[:each]
        lines = (json.dumps(record, ensure_ascii=False) for record in records)
        text = "\n".join(lines) if path.suffix == ".jsonl" else f"[{', '.join(lines)}]"
        (directory / path.name).write_text(text + "\n", encoding="utf-8")


def probe_values(config: RunConfig, directory: Path) -> dict[str, object]:
    """The grid point that stands for a cell: its own settings, a tiny schedule."""
    return {
        **config.model_dump(mode="json"),
        "dataset": str(directory / "train"),
        "validation_dataset": str(directory / "validation"),
        "test_dataset": None,
        "test_fraction": 0.0,
        "epochs": 1,
        "eval_every": 1 / STEPS,  # a point after each step: the second one is free of warm-up
        "eval_examples": config.eval_batch_size,
        "store": str(directory / "store"),
        "pruner": "none",
        "log_model": "none",
        "checkpoint_every_min": 0,
    }


def measure(config: RunConfig, train_program: Path) -> Measured:
    """Run one cell. ClusterError with train.py's last words when it fails."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        directory = Path(folder)
        write_longest(config.dataset, directory / "train", STEPS * config.batch_size)
        write_longest(config.dataset, directory / "validation", config.eval_batch_size)
        point = directory / "point.json"
        files.write_json(point, probe_values(config, directory))
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("WANDB_")
        }
        done = subprocess.run(
            [sys.executable, str(train_program), "--config", str(point)],
            env={**environment, "WANDB_MODE": "disabled", "WANDB_ERROR_REPORTING": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = " ".join((done.stderr.strip().splitlines() or ["no words"])[-3:])
            raise ClusterError(f"{config.display_name()}: train.py failed: {reason}")
        return read_measured(directory / "store")


def read_measured(store: Path) -> Measured:
    """Read time, memory and size from a store with one evaluation point per step.

    The first step and the first validation load and compile things; the last ones count.
    """
    points = sorted(store.glob("*/eval-*"))
    if len(points) != STEPS:
        raise ClusterError(f"train.py stored {len(points)} evaluation points, not {STEPS}")
    costs = [json.loads((point / "record.json").read_text())["cost"] for point in points]
    scores = [json.loads(p.read_text()) for p in points[-1].glob("scores/*/scores.json")]
    size = sum(path.stat().st_size for path in points[-1].rglob("*") if path.is_file())
    return Measured(
        step_s=float(costs[-1]["train_seconds"]) - float(costs[-2]["train_seconds"]),
        validation_s=float(scores[0]["seconds"]) if scores else 0.0,
        peak_vram_gb=costs[-1].get("peak_vram_gb"),
        point_gb=size / 1e9,
    )


def estimate(
    cell: str,
    configs: Sequence[RunConfig],
    measured: Measured,
    records: int,
    seen: set[str],
) -> Estimate:
    """Scale one cell's measurement to all of its grid points.

    `seen` names the trainings that other cells have paid for; those of this cell are added.
    """
    training_s, validation_s, points = 0.0, 0.0, 0
    longest_s, own = 0.0, len(seen)
    for config in configs:
        share = 1 - config.test_fraction
        share -= 0 if config.validation_dataset else config.validation_fraction
        steps = math.ceil(records * share / config.batch_size) * config.epochs
        evaluations = max(math.floor(config.epochs / config.eval_every), 1)
        scored = config.eval_examples or math.ceil(records * config.validation_fraction)
        batches = math.ceil(scored / config.eval_batch_size)
        own_s = steps * measured.step_s
        scoring_s = evaluations * batches * measured.validation_s
        longest_s = max(longest_s, own_s + scoring_s)
        validation_s += scoring_s
        if training_name(config) not in seen:
            seen.add(training_name(config))
            training_s += own_s
            points += evaluations
    return Estimate(
        cell=cell,
        points=len(configs),
        trainings=len(seen) - own,
        hours_per_point=longest_s / 3600,
        gpu_hours=(training_s + validation_s) / 3600,
        store_gb=points * measured.point_gb,
        peak_vram_gb=measured.peak_vram_gb,
    )


def cells_of(configs: Iterable[RunConfig]) -> dict[str, list[RunConfig]]:
    """Grid points by everything that changes memory or speed, under a readable name."""
    shapes: dict[str, list[RunConfig]] = {}
    for config in configs:
        shapes.setdefault(_shape(config), []).append(config)
    return shapes


def _shape(config: RunConfig) -> str:
    cell = config.model_variant
    if config.quantization_strategy != "None":
        cell += f" {config.quantization_strategy}"
    details: Mapping[str, object] = {
        "": Path(config.base_model).name,
        "r": config.lora_rank,
        "batch": config.batch_size,
        "length": config.max_length,
    }
    return " ".join([cell, *(f"{name}{value}" for name, value in details.items())])


def table_rows(estimates: Sequence[Estimate]) -> list[tuple[str, ...]]:
    """The estimates and their sum."""
    rows: list[tuple[str, ...]] = [
        ("cell", "points", "trainings", "VRAM GB", "h/point", "GPU h", "store GB")
    ]
    for each in estimates:
        vram = "-" if each.peak_vram_gb is None else f"{each.peak_vram_gb:.1f}"
        rows.append(
            (
                each.cell,
                str(each.points),
                str(each.trainings),
                vram,
                f"{each.hours_per_point:.2f}",
                f"{each.gpu_hours:.1f}",
                f"{each.store_gb:.2f}",
            )
        )
    total_h = sum(each.gpu_hours for each in estimates)
    total_gb = sum(each.store_gb for each in estimates)
    points = sum(each.points for each in estimates)
    trainings = sum(each.trainings for each in estimates)
    rows.append(("all", str(points), str(trainings), "", "", f"{total_h:.1f}", f"{total_gb:.2f}"))
    return rows
