"""What the pages show of any metric, also of one that the study does not name.

An unknown metric is shown under its key; its direction is guessed from its words, because a
project may hold any runs.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from agent.results.presentation import (
    BY_KEY,
    GPU,
    INFERENCE_GPU,
    LATENCY,
    MODEL_SIZE,
    RUN_COST,
    SCORE,
    TRAINING_FLOPS,
    Better,
    variant_label,
)
from agent.results.presentation import COST_AXES as STUDY_AXES

# What a project's table begins with, where any run has it.
FIRST_COLUMNS = (
    "variant", "learning_rate", "seed", SCORE, "final/validation_accuracy", LATENCY, MODEL_SIZE,
    "train/peak_vram_gb", TRAINING_FLOPS, RUN_COST,
)  # fmt: skip
# Axes of the scatter, in the order in which a reader would want them.
COST_AXES = (*STUDY_AXES, RUN_COST)
_LOWER = re.compile(
    r"loss|error|perplexity|latency|time|seconds|_s$|_ms|size|vram|memory|_gb|flops|cost|rmse|mae",
    re.IGNORECASE,
)
_HIGHER = re.compile(r"per_sec|throughput|accuracy|f1|score", re.IGNORECASE)


def heading_of(key: str) -> str:
    """What stands above a column or beside an axis."""
    known = BY_KEY.get(key)
    return known.heading if known else key


def better_of(key: str) -> Better:
    """Which end of a metric is the good one."""
    known = BY_KEY.get(key)
    if known is not None:
        return known.better
    return "lower" if _LOWER.search(key) and not _HIGHER.search(key) else "higher"


def gpu_key_of(key: str) -> str | None:
    """Which value says on what type of GPU a metric was measured; None for what depends on none."""
    known = BY_KEY.get(key)
    if known is None or not known.is_hardware_bound:
        return None
    return INFERENCE_GPU if known.group == "inference" else GPU


def gpu_of(values: Mapping[str, Any], key: str) -> str | None:
    """The type of GPU that a row's metric belongs to; None where it depends on none or is unknown.

    Inference may have been measured on another GPU than the training ran on.
    """
    gpu_key = gpu_key_of(key)
    found = None if gpu_key is None else values.get(gpu_key) or values.get(GPU)
    return None if found is None else str(found)


def reference_gpu(rows: Iterable[Mapping[str, Any]], key: str) -> str | None:
    """The type of GPU that most rows have the metric from: only its values are compared."""
    names = [gpu for row in rows if row.get(key) is not None and (gpu := gpu_of(row, key))]
    return max(sorted(set(names)), key=names.count) if names else None


def variant_of(config: Mapping[str, Any]) -> str | None:
    """`QLoRA int4`, as the report names cells; None for a run that has no variant."""
    variant, strategy = config.get("model_variant"), config.get("quantization_strategy")
    if not isinstance(variant, str):
        return None
    method = config.get("quantization_method")
    named = None if method is None else str(method)
    return variant_label(variant, "None" if strategy is None else str(strategy), named)
