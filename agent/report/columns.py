"""The columns of every report: one row of `COLUMNS` is one more metric everywhere.

Tables, figures, efficiency gains, Pareto fronts and the W&B workspace all read this table; none
of them names a metric of its own except the score that runs are judged by.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.errors import ReportError

Better = Literal["higher", "lower"]
Group = Literal["score", "training", "inference", "cost"]

SCORE = "final/validation_f1_score"
TEST_SCORE = "test/f1_score"
CURVE = "validation/f1_score"
CURVES = (CURVE, "validation/accuracy")
RUN_COST = "train/own_gpu_seconds"
TRAINING_COST = "train/gpu_seconds"
GPU = "hardware/gpu"
INFERENCE_GPU = "inference/gpu"
DIGESTS = ("base/digest", "data/digest", "evaluation/digest")


@dataclass(frozen=True)
class Column:
    """One metric. `gain` names the ratio baseline/variant that a reader wants, where there is
    one; `is_hardware_bound` metrics are never compared between two types of GPU."""

    key: str
    title: str
    better: Better
    group: Group
    unit: str = ""
    digits: int = 3  # significant figures
    gain: str = ""
    is_hardware_bound: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def phrase(self) -> str:
        """The title inside a sentence: `model size`, but `FLOPs per query`."""
        return self.title if self.title[1:2].isupper() else self.title[:1].lower() + self.title[1:]


COLUMNS: tuple[Column, ...] = (
    Column(TEST_SCORE, "Test F1", "higher", "score"),
    Column(SCORE, "Validation F1", "higher", "score"),
    Column("final/validation_accuracy", "Validation accuracy", "higher", "score"),
    Column("final/avg_f1", "F1 over data sets", "higher", "score"),
    Column(
        "train/peak_vram_gb",
        "Training VRAM",
        "lower",
        "training",
        "GB",
        gain="less training VRAM",
        is_hardware_bound=True,
    ),
    Column(
        "train/epoch_time_min",
        "Epoch time",
        "lower",
        "training",
        "min",
        gain="faster training",
        is_hardware_bound=True,
    ),
    Column(
        "train/throughput_samples_per_sec",
        "Training throughput",
        "higher",
        "training",
        "samples/s",
        is_hardware_bound=True,
    ),
    Column(
        "train/total_training_flops_tflops",
        "Training FLOPs",
        "lower",
        "training",
        "TFLOP",
        gain="fewer training FLOPs",
    ),
    Column(
        "inference/avg_latency_ms_per_sample",
        "Latency",
        "lower",
        "inference",
        "ms/sample",
        gain="lower latency",
        is_hardware_bound=True,
    ),
    Column(
        "inference/peak_vram_gb",
        "Inference VRAM",
        "lower",
        "inference",
        "GB",
        gain="less inference VRAM",
        is_hardware_bound=True,
    ),
    Column(
        "inference/flops_per_query_gflops",
        "FLOPs per query",
        "lower",
        "inference",
        "GFLOP",
        gain="fewer FLOPs per query",
    ),
    Column(
        "inference/model_size_gb",
        "Model size",
        "lower",
        "inference",
        "GB",
        gain="smaller model",
    ),
    Column(RUN_COST, "Device time of this run", "lower", "cost", "s", is_hardware_bound=True),
    Column(
        TRAINING_COST, "Device time of its training", "lower", "cost", "s", is_hardware_bound=True
    ),
)

_PER_DATASET = re.compile(r"(final|test)/f1_(?!score$)(.+)")


def find(key: str) -> Column:
    """The column of a metric key, known or `final/f1_<dataset>`. ReportError when unknown."""
    for column in COLUMNS:
        if column.key == key:
            return column
    if match := _PER_DATASET.fullmatch(key):
        split = "" if match[1] == "final" else "test "
        return Column(key, f"F1 on {split}{match[2]}", "higher", "score")
    known = ", ".join(column.key for column in COLUMNS)
    raise ReportError(f"metric {key!r} is not a column of the report; known: {known}")


def present_in(rows: Iterable[Mapping[str, object]]) -> tuple[Column, ...]:
    """The columns that at least one row has a value for, scores per data set included."""
    keys = {key for row in rows for key, value in row.items() if value is not None}
    per_dataset = [find(key) for key in sorted(keys) if _PER_DATASET.fullmatch(key)]
    known = [column for column in COLUMNS if column.key in keys]
    scores = [column for column in known if column.group == "score"]
    return (*scores, *per_dataset, *(column for column in known if column.group != "score"))


def absent_from(rows: Iterable[Mapping[str, object]]) -> tuple[Column, ...]:
    """The columns that no row has a value for: named in the report, so that none goes missing."""
    present = set(present_in(list(rows)))
    return tuple(column for column in COLUMNS if column not in present)


def format_number(value: float | None, column: Column | None = None) -> str:
    """A number for people; a missing one stays blank, never 0."""
    if value is None:
        return ""
    if column is not None and column.group == "score":
        return f"{value:.3f}"
    return _significant(value, column.digits if column else 3)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 10 ** (digits + 4) or magnitude < 1e-4:
        return f"{value:.{digits - 1}e}"
    if magnitude >= 10 ** (digits - 1):
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.10f}".rstrip("0").rstrip(".") if "e" in text else text
