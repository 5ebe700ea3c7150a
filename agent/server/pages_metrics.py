"""What the pages know about metrics and variants: titles, units, which direction is better.

An unknown metric is shown under its key; its direction is guessed from its words, because a
project may hold any runs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agent import variants

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A metric that the study names."""

    title: str
    better: Better
    unit: str = ""

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


CURVE = "validation/f1_score"
SCORE = "final/validation_f1_score"
METRICS: dict[str, Metric] = {
    "test/f1_score": Metric("Test F1", "higher"),
    SCORE: Metric("Final F1", "higher"),
    "final/validation_accuracy": Metric("Final accuracy", "higher"),
    "final/avg_f1": Metric("F1 over data sets", "higher"),
    CURVE: Metric("Validation F1", "higher"),
    "validation/accuracy": Metric("Validation accuracy", "higher"),
    "best/validation_f1_score": Metric("Best F1", "higher"),
    "train/loss": Metric("Training loss", "lower"),
    "train/peak_vram_gb": Metric("Training VRAM", "lower", "GB"),
    "train/epoch_time_min": Metric("Epoch time", "lower", "min"),
    "train/throughput_samples_per_sec": Metric("Throughput", "higher", "samples/s"),
    "train/total_training_flops_tflops": Metric("Training FLOPs", "lower", "TFLOP"),
    "train/own_gpu_seconds": Metric("Device time", "lower", "s"),
    "inference/avg_latency_ms_per_sample": Metric("Latency", "lower", "ms/sample"),
    "inference/peak_vram_gb": Metric("Inference VRAM", "lower", "GB"),
    "inference/flops_per_query_gflops": Metric("FLOPs per query", "lower", "GFLOP"),
    "inference/model_size_gb": Metric("Model size", "lower", "GB"),
}
# What a project's table begins with, where any run has it.
FIRST_COLUMNS = (
    "variant", "learning_rate", "seed", SCORE, "final/validation_accuracy",
    "inference/avg_latency_ms_per_sample", "inference/model_size_gb", "train/peak_vram_gb",
    "train/total_training_flops_tflops", "train/own_gpu_seconds",
)  # fmt: skip
# Axes of the scatter, in the order in which a reader would want them.
COST_AXES = (
    "inference/avg_latency_ms_per_sample", "inference/model_size_gb",
    "inference/flops_per_query_gflops", "train/total_training_flops_tflops",
    "train/own_gpu_seconds",
)  # fmt: skip
_LOWER = re.compile(
    r"loss|error|perplexity|latency|time|seconds|_s$|_ms|size|vram|memory|_gb|flops|cost|rmse|mae",
    re.IGNORECASE,
)
_HIGHER = re.compile(r"per_sec|throughput|accuracy|f1|score", re.IGNORECASE)


def heading_of(key: str) -> str:
    """What stands above a column or beside an axis."""
    known = METRICS.get(key)
    return known.heading if known else key


def better_of(key: str) -> Better:
    """Which end of a metric is the good one."""
    known = METRICS.get(key)
    if known is not None:
        return known.better
    return "lower" if _LOWER.search(key) and not _HIGHER.search(key) else "higher"


def variant_of(config: Mapping[str, Any]) -> str | None:
    """`QLoRA int4`, as the report names cells; None for a run that has no variant."""
    variant, strategy = config.get("model_variant"), config.get("quantization_strategy", "None")
    if not isinstance(variant, str):
        return None
    words = [variant, *([str(strategy)] if strategy not in (None, "None") else [])]
    method = config.get("quantization_method")
    usual = variants.methods_of(variant, str(strategy))[:1]
    return " ".join(words if method in (None, *usual) else [*words, f"({method})"])


def style_of(variant: str | None) -> int | None:
    """The variant's place in the table of variants, which gives it the same colour everywhere."""
    known = [
        variant_of(
            {"model_variant": row.model_variant, "quantization_strategy": row.quantization_strategy}
        )
        for row in variants.VARIANTS
    ]
    return known.index(variant) if variant in known else None
