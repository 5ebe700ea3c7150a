"""What a sweep will cost, before it is started: each cell once, on its longest records.

The real train.py runs two optimizer steps and one validation batch per cell, in a store of its
own that is thrown away, on the longest records of those that training keeps. Everything is read
from what it stored.
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

from agent import files
from agent.cluster.submit.plan import training_name
from agent.config.run_config import RunConfig
from agent.errors import ClusterError

STEPS = 2


@dataclass(frozen=True)
class Measured:
    """What one cell took on its longest records."""

    step_s: float
    validation_s: float  # one batch, with loading the deployed form
    peak_vram_gb: float | None  # None where there is no such memory
    point_gb: float  # one evaluation point in the store
    train_records: int  # that training keeps
    validation_records: int  # that are scored


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
        "max_shared_share": 1.0,  # it validates on what it trains on
        "max_left_out_share": 1.0,  # the longest records may all be of one task
    }


def measure(config: RunConfig, train_program: Path) -> Measured:
    """Run one cell. ClusterError with the last line of train.py when it fails."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        directory = Path(folder)
        point = directory / "point.json"
        files.write_json(point, config.model_dump(mode="json"))
        wanted = ["--train", str(STEPS * config.batch_size)]
        wanted += ["--validation", str(config.eval_batch_size)]
        chooser = ["-m", "agent.programs.longest_records", "--out", str(directory)]
        _run([*chooser, *wanted, "--config", str(point)], f"{config.display_name()}: its records")
        counts = json.loads((directory / "counts.json").read_text())
        files.write_json(point, probe_values(config, directory))
        _run([str(train_program), "--config", str(point)], f"{config.display_name()}: train.py")
        return read_measured(directory / "store", counts["train"], counts["validation"])


def _run(words: Sequence[str], what: str) -> None:
    """Run Python. ClusterError with its last line when it fails."""
    environment = {n: value for n, value in os.environ.items() if not n.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, *words],
        env={**environment, "WANDB_MODE": "disabled", "WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = " ".join((done.stderr.strip().splitlines() or ["no message"])[-3:])
        raise ClusterError(f"{what} failed: {reason}")


def read_measured(store: Path, train_records: int, validation_records: int) -> Measured:
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
        train_records=train_records,
        validation_records=validation_records,
    )


def estimate(
    cell: str,
    configs: Sequence[RunConfig],
    measured: Measured,
    seen: set[str],
) -> Estimate:
    """Scale one cell's measurement to all of its grid points.

    `seen` names the trainings that other cells have paid for; those of this cell are added.
    """
    training_s, validation_s, points = 0.0, 0.0, 0
    longest_s, own = 0.0, len(seen)
    for config in configs:
        steps = math.ceil(measured.train_records / config.batch_size) * config.epochs
        evaluations = max(math.floor(config.epochs / config.eval_every), 1)
        batches = math.ceil(measured.validation_records / config.eval_batch_size)
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
    cell = config.cell_name
    details: Mapping[str, object] = {
        "": Path(config.base_model).name,
        "r": config.lora_rank,
        "batch": config.batch_size,
        "length": config.longest_length,
    }
    words = [config.task] if config.task else []
    return " ".join([cell, *(f"{name}{value}" for name, value in details.items()), *words])


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
