"""What the pages show of any metric, also of one that the study does not name.

An unknown metric is shown under its key; its direction is guessed from its words, because a
project may hold any runs.
"""

import re
from collections.abc import Mapping
from typing import Any

from agent.results.presentation import (
    BY_KEY,
    LATENCY,
    MODEL_SIZE,
    RUN_COST,
    SCORE,
    TOKENS_OUT,
    TRAINING_FLOPS,
    Better,
    variant_label,
)

NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as the store writes such a value
# What a project's table begins with, where any run has it.
FIRST_COLUMNS = (
    "variant",
    "learning_rate",
    "seed",
    SCORE,
    "final/validation_accuracy",
    LATENCY,
    TOKENS_OUT,
    MODEL_SIZE,
    "train/peak_vram_gb",
    TRAINING_FLOPS,
    RUN_COST,
)
_LOWER = re.compile(
    r"loss|error|perplexity|latency|time|seconds|_s$|_ms|size|vram|memory|_gb|flops|cost|rmse|mae",
    re.IGNORECASE,
)
_JUDGED = re.compile(r"loss|error|perplexity|accuracy|f1|score|rmse|mae\b", re.IGNORECASE)
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


def is_judged(key: str) -> bool:
    """Whether a curve of the metric has a best value that a reader looks for."""
    return key in BY_KEY or _JUDGED.search(key) is not None


def variant_of(config: Mapping[str, Any]) -> str | None:
    """`QLoRA int4`, as the report names cells; None for a run that has no variant."""
    variant, strategy = config.get("model_variant"), config.get("quantization_strategy")
    if not isinstance(variant, str):
        return None
    method = config.get("quantization_method")
    named = None if method is None else str(method)
    return variant_label(variant, "None" if strategy is None else str(strategy), named)
