"""How much quality each variant keeps: the first answer of a study, on its project page.

The numbers are those of `agent.results.study`, as in a report; here they become texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.results.columns import COLUMNS, find, format_number
from agent.results.comparable import tuned_keys
from agent.results.costs import Cost, reference_gpu
from agent.results.pareto import comparable_in
from agent.results.presentation import (
    LATENCY,
    MODEL_SIZE,
    QUERY_FLOPS,
    SCORE,
    TEST_SCORE,
    TOKEN_LATENCY,
    TOKENS_OUT,
    setting_text,
    style_of,
)
from agent.results.retention import Retention
from agent.results.selected import selected_rows
from agent.results.sentences import ONE_SEED
from agent.results.study import CellReport, FamilyReport, Study, flops_notes
from agent.server.pages.metrics import heading_of

# What stands beside score and retention. An answer's length stands beside every latency.
COSTS = (
    TOKEN_LATENCY,
    LATENCY,
    TOKENS_OUT,
    MODEL_SIZE,
    QUERY_FLOPS,
    "train/peak_vram_gb",
    "train/epoch_time_min",
)


@dataclass(frozen=True)
class Line:
    """One variant at its best tuned value. `retention` has no value without Full LoRA."""

    variant: str
    style: int | None
    complete: int
    total: int
    tuned: str
    seeds: int
    score: float | None
    retention: Retention
    costs: tuple["Cost | None", ...]
    sentence: str
    gains: str = ""  # what it costs less than Full LoRA, in words
    is_compared: bool = True  # all but Full LoRA itself


@dataclass(frozen=True)
class Comparison:
    """The variants of runs that may be compared. `label` distinguishes them from the others."""

    label: str
    metric: str
    headline: str
    lines: tuple[Line, ...]
    gpu: str = ""  # the type that times and memory belong to, where it is known
    selected: tuple[str, ...] = ()  # those that stand for their variants
    runs: tuple[str, ...] = ()  # those that may stand on a front with each other
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # but not by this metric
    gpus: Mapping[str, str] = field(default_factory=dict)  # the type that a metric belongs to
    flops: tuple[str, ...] = ()  # why training FLOPs are missing


def compare(study: Study) -> tuple[Comparison, ...]:
    """One comparison for each family of runs, the largest first."""
    if not study.families:
        return ()
    several = len(study.families) > 1
    found = [
        Comparison(
            family.label if several else "",
            family.metric,
            headline,
            tuple(_line(family, cell) for cell in family.cells),
            _gpu_of(family),
            tuple(row.run_id for row in selected_rows(family)),
            tuple(row.run_id for row in family.compared_rows),
            _unlike(family),
            _gpus_of(family),
            tuple(flops_notes(family.family.rows)),
        )
        for family, headline in zip(study.families, study.headline, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -sum(line.total for line in one.lines)))


def _unlike(family: FamilyReport) -> dict[str, tuple[str, ...]]:
    """By metric the runs whose value was measured on another type of GPU, or for answers of
    another length, than that of most: the rule of the report's fronts."""
    rows = family.compared_rows
    found = {}
    for column in COLUMNS:
        pairs = zip(rows, comparable_in(rows, column), strict=True)
        others = [
            row.run_id
            for row, is_alike in pairs
            if not is_alike and row.number(column.key) is not None
        ]
        if others:
            found[column.key] = tuple(others)
    return found


def _gpus_of(family: FamilyReport) -> dict[str, str]:
    named = ((column.key, reference_gpu(family.compared_rows, column)) for column in COLUMNS)
    return {key: _shown_gpu(gpu) for key, gpu in named if gpu}


def _shown_gpu(gpu: str) -> str:
    return {"cpu": "the CPU"}.get(gpu, gpu)


def _gpu_of(family: FamilyReport) -> str:
    complete = [row for row in family.family.rows if row.is_complete]
    names = (reference_gpu(complete, find(key)) for key in (TOKEN_LATENCY, LATENCY))
    return next((name for name in names if name), "")


def _line(family: FamilyReport, cell: CellReport) -> Line:
    chosen = cell.selection.chosen
    keys = tuned_keys(chosen.rows[0]) if chosen else ()
    tuned = [f"{key} {setting_text(dict(chosen.tuned).get(key))}" for key in keys if chosen]
    return Line(
        cell.label,
        style_of(cell.label),
        sum(row.is_complete for row in cell.rows),
        len(cell.rows),
        ", ".join(tuned),
        len(chosen.by_seed) if chosen else 0,
        cell.score,
        cell.best,
        tuple(cell.costs.get(key) for key in _costs_of(family)),
        family.sentence(cell),
        "" if cell.is_baseline else _gains(cell),
        not cell.is_baseline,
    )


def _gains(cell: CellReport) -> str:
    """`2.4x smaller model, 1.2x less training VRAM`; below 1 it costs more."""
    known = [(gain.ratio, gain.column.gain) for gain in cell.gains if gain.ratio]
    return ", ".join(f"{ratio:.2f}× {words}" for ratio, words in known)


def _costs_of(family: FamilyReport) -> tuple[str, ...]:
    """Beside a test score stands the validation score that the choice was made by."""
    return (SCORE, *COSTS) if family.metric == TEST_SCORE else COSTS


def comparison_payload(study: Study) -> list[dict[str, Any]]:
    """Headings and texts, for the page and for its script; unknown columns are left
    out."""
    return [_texts(comparison) for comparison in compare(study)]


def _texts(comparison: Comparison) -> dict[str, Any]:
    lines = comparison.lines
    keys = (SCORE, *COSTS) if comparison.metric == TEST_SCORE else COSTS
    known = [i for i in range(len(keys)) if any(line.costs[i] is not None for line in lines)]
    return {
        "label": comparison.label,
        "headline": comparison.headline,
        "gpu": _shown_gpu(comparison.gpu),
        "flops": " ".join(comparison.flops),
        "selected": comparison.selected,
        "runs": comparison.runs,
        "unlike": comparison.unlike,
        "gpus": comparison.gpus,
        "headings": [
            "Complete runs",
            "Best at",
            heading_of(comparison.metric),
            "Retention",
            *(heading_of(keys[i]) for i in known),
            *(["Gains"] if any(line.gains for line in lines) else []),
        ],
        "lines": [
            {
                "variant": line.variant,
                "style": line.style,
                "sentence": line.sentence if line.is_compared else "",
                "is_resolved": line.retention.is_resolved,
                "texts": [
                    f"{line.complete} of {line.total}",
                    f"{line.tuned}{f', {line.seeds} seeds' if line.seeds > 1 else ''}",
                    "" if line.score is None else f"{line.score:.3f}",
                    _retention(line),
                    *(_cost(keys[i], line.costs[i]) for i in known),
                    *([line.gains] if any(each.gains for each in lines) else []),
                ],
            }
            for line in lines
        ],
    }


def _retention(line: Line) -> str:
    """`75.0 % [70.1, 80.3]`; with one seed it says that the noise of training is left out."""
    found = line.retention
    if found.value is None:
        return ""
    text = f"{100 * found.value:.1f} %"
    if found.interval is not None:
        text += f" [{100 * found.interval.low:.1f}, {100 * found.interval.high:.1f}]"
    return f"{text} ({ONE_SEED})" if found.is_one_seed and line.is_compared else text


def _cost(key: str, cost: Cost | None) -> str:
    """As the report writes it."""
    if cost is None:
        return ""
    text = format_number(cost.mean, find(key))
    return f"{text} (on {cost.other_gpu})" if cost.other_gpu else text
