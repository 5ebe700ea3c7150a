"""How much quality each variant keeps: the first answer of a study, on its project page.

A variant stands for its best tuned value (learning rate) by the mean final score over seeds, and
its retention is that mean over Full LoRA's best mean. Only complete runs count, and only runs that
agree in all that decides a score are compared. Intervals, matched pairs and gains are the report's.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config.run_config import RunConfig, group_of
from agent.results.presentation import LATENCY, SCORE, TEST_SCORE
from agent.server.pages.metrics import COST_AXES, gpu_of, heading_of, reference_gpu
from agent.server.pages.table import Row, Scalar
from agent.server.pages.view import number, text_of

BASELINE = "Full LoRA"
# What stands beside score and retention: the headline where the choices were tested, then costs.
COSTS = (TEST_SCORE, *COST_AXES[:3], "train/peak_vram_gb", "train/epoch_time_min")
_DIGESTS = {
    "base/digest": ("base_model", "base_revision"),
    "data/digest": ("dataset", "validation_fraction", "test_fraction", "split_seed"),
    "evaluation/digest": ("validation_dataset", "test_dataset", "eval_examples"),
}
# How a step is computed, not what it learns.
_FREE = {"seed", "micro_batch_size", "gradient_checkpointing"}
_SHARED = tuple(
    name
    for name, field in RunConfig.model_fields.items()
    if group_of(field) in ("training", "evaluation") and name not in _FREE
)
Context = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True)
class Cost:
    """The mean of one cost. `other_gpu` is named where it belongs to another type of GPU than the
    others' values: then it stands in no comparison with them."""

    mean: float
    other_gpu: str = ""


@dataclass(frozen=True)
class Line:
    """One variant at its best tuned value. `retention` is None without a complete Full LoRA."""

    variant: str
    style: int | None
    complete: int
    total: int
    tuned: str
    seeds: int
    score: float | None
    retention: float | None
    costs: tuple["Cost | None", ...]


@dataclass(frozen=True)
class Comparison:
    """The variants of runs that may be compared. `label` tells them from the others."""

    label: str
    lines: tuple[Line, ...]
    gpu: str = ""  # the type that times and memory belong to, where it is known


def compare(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """One comparison for each set of runs that agree in all but variant, tuned keys and seed."""
    trained = [
        row for row in rows
        if row.values.get("variant") and row.values.get("job_type") not in ("inference", "baseline")
    ]  # fmt: skip
    groups: dict[Context, list[Row]] = {}
    for row in trained:
        groups.setdefault(_context(row), []).append(row)
    contexts = [dict(context) for context in groups]
    keys = dict.fromkeys(key for context in contexts for key in context)
    differing = [key for key in keys if len({c.get(key) for c in contexts}) > 1]
    found = []
    for context, members in groups.items():
        known = dict(context)
        words = [f"{key} {known.get(key)}" for key in differing if known.get(key) is not None]
        gpu = reference_gpu((row.values for row in members), LATENCY) or ""
        found.append(Comparison(", ".join(words), _lines(members), gpu))
    return tuple(sorted(found, key=lambda one: -sum(line.total for line in one.lines)))


def is_complete(row: Row) -> bool:
    """Whether a run went through its whole budget: only such runs compete."""
    tags = str(row.values.get("tags", "")).split(", ")
    stopped = {"pruned", "diverged"} & set(tags) or row.values.get("stopped/rung") is not None
    return row.values.get("state") == "finished" and not stopped


def _context(row: Row) -> Context:
    free = set(_tuned(row))
    for digest, names in _DIGESTS.items():
        if digest in row.values:
            free.update(names)
    keys = [*(key for key in _SHARED if key not in free), *_DIGESTS]
    return tuple((key, row.values.get(key)) for key in keys)


def _tuned(row: Row) -> list[str]:
    try:
        keys = json.loads(str(row.values.get("tuned")))
    except ValueError:
        keys = None
    return [str(key) for key in keys] if isinstance(keys, list) else ["learning_rate"]


def _lines(rows: Sequence[Row]) -> tuple[Line, ...]:
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(str(row.values["variant"]), []).append(row)
    best = {variant: _best(members) for variant, members in cells.items()}
    baseline = _mean(best.get(BASELINE, []), SCORE)
    gpus = {key: reference_gpu((row.values for row in rows), key) for key in COSTS}
    lines = [
        _line(variant, members, best[variant], baseline, gpus) for variant, members in cells.items()
    ]
    return tuple(sorted(lines, key=lambda line: 99 if line.style is None else line.style))


def _best(rows: Sequence[Row]) -> list[Row]:
    """The complete runs of the tuned value with the best mean score."""
    candidates: dict[tuple[Scalar, ...], list[Row]] = {}
    for row in rows:
        if is_complete(row) and _number(row, SCORE) is not None:
            value = tuple(row.values.get(key) for key in _tuned(row))
            candidates.setdefault(value, []).append(row)
    return max(candidates.values(), key=lambda found: _mean(found, SCORE) or 0.0, default=[])


def _line(
    variant: str,
    rows: Sequence[Row],
    best: Sequence[Row],
    baseline: float | None,
    gpus: Mapping[str, str | None],
) -> Line:
    score = _mean(best, SCORE)
    tuned = [f"{k} {text_of(k, best[0].values.get(k))}" for k in _tuned(best[0])] if best else []
    return Line(
        variant,
        rows[0].style,
        sum(is_complete(row) for row in rows),
        len(rows),
        ", ".join(tuned),
        len({row.values.get("seed") for row in best}),
        score,
        score / baseline if score is not None and baseline else None,
        tuple(_cost(best, key, gpus[key]) for key in COSTS),
    )


def _cost(rows: Sequence[Row], key: str, reference: str | None) -> Cost | None:
    """The mean over the rows of the reference GPU; of another GPU only where there are none."""
    known = [row for row in rows if _number(row, key) is not None]
    same = [row for row in known if gpu_of(row.values, key) in (None, reference)]
    mean = _mean(same or known, key)
    if mean is None:
        return None
    others = sorted({str(gpu_of(row.values, key)) for row in known})
    return Cost(mean, "" if same else ", ".join(others))


def _number(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None else None


def _mean(rows: Sequence[Row], key: str) -> float | None:
    known = [value for row in rows if (value := _number(row, key)) is not None]
    return statistics.fmean(known) if known else None


def comparison_payload(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Headings and texts, for the page and for its script; columns that nobody knows are left
    out."""
    return [_texts(comparison) for comparison in compare(rows)]


def _texts(comparison: Comparison) -> dict[str, Any]:
    lines = comparison.lines
    known = [i for i in range(len(COSTS)) if any(line.costs[i] is not None for line in lines)]

    def cost(value: Cost | None) -> str:
        if value is None:
            return ""
        return number(value.mean) + (f" (on {value.other_gpu})" if value.other_gpu else "")

    return {
        "label": comparison.label,
        "gpu": {"cpu": "the CPU"}.get(comparison.gpu, comparison.gpu),
        "headings": [
            "Complete runs", "Best at", heading_of(SCORE), "Retention",
            *(heading_of(COSTS[i]) for i in known),
        ],
        "lines": [
            {
                "variant": line.variant,
                "style": line.style,
                "texts": [
                    f"{line.complete} of {line.total}",
                    f"{line.tuned}{f', {line.seeds} seeds' if line.seeds > 1 else ''}",
                    "" if line.score is None else f"{line.score:.3f}",
                    "" if line.retention is None else f"{100 * line.retention:.1f} %",
                    *(cost(line.costs[i]) for i in known),
                ],
            }
            for line in lines
        ],
    }  # fmt: skip
