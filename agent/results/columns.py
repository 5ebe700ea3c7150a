"""The columns of every report: one row of `presentation.METRICS` is one more metric everywhere.

Tables, figures, efficiency gains, Pareto fronts and the W&B workspace all read `COLUMNS`; none of
them names a metric of its own except the score that runs are judged by.
"""

import re
from collections.abc import Iterable, Mapping

from agent.errors import ReportError
from agent.results.presentation import (
    BY_KEY,
    COST_AXES,
    CURVE,
    GPU,
    INFERENCE_GPU,
    METRICS,
    RUN_COST,
    SCORE,
    TEST_SCORE,
    TOKENS_OUT,
    TRAINING_COST,
    Better,
)
from agent.results.presentation import Metric as Column

__all__ = [
    "COLUMNS",
    "COST_AXES",
    "CURVE",
    "CURVES",
    "DIGESTS",
    "GPU",
    "INFERENCE_GPU",
    "RUN_COST",
    "SCORE",
    "TEST_SCORE",
    "TOKENS_OUT",
    "TRAINING_COST",
    "Better",
    "Column",
    "absent_from",
    "find",
    "format_number",
    "is_score",
    "present_in",
]

COLUMNS: tuple[Column, ...] = tuple(metric for metric in METRICS if metric.group != "progress")
CURVES = (CURVE, "validation/accuracy")
DIGESTS = ("base/digest", "data/digest", "evaluation/digest")

_PER_DATASET = re.compile(r"(final|test)/f1_(?!score$)(.+)")


def find(key: str) -> Column:
    """The column of a metric key, known or `final/f1_<dataset>`. ReportError when unknown."""
    known = BY_KEY.get(key)
    if known is not None and known in COLUMNS:
        return known
    if match := _PER_DATASET.fullmatch(key):
        split = "" if match[1] == "final" else "test "
        return Column(key, f"F1 on {split}{match[2]}", "higher", "score")
    names = ", ".join(column.key for column in COLUMNS)
    raise ReportError(f"metric {key!r} is not a column of the report; known: {names}")


def is_score(key: str) -> bool:
    """Whether a metric is a score between 0 and 1, as `final/avg_f1` or `test/f1_nq` is."""
    known = BY_KEY.get(key)
    if known is not None:
        return known.group == "score" or key in (*CURVES, "best/validation_f1_score")
    return _PER_DATASET.fullmatch(key) is not None


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
