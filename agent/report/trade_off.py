"""Score against cost: every complete run, and the front with its names, for each type of GPU."""

import re
from collections.abc import Mapping, Sequence

from agent.report.figures import NEUTRAL_STYLE, Figure, Level, Series, range_without
from agent.results import columns, pareto
from agent.results.columns import COST_AXES, Column
from agent.results.comparable import base_label, gpu_of, seed_of, tuned_values
from agent.results.presentation import setting_text
from agent.results.run_table import Row
from agent.results.study import FamilyReport


def pareto_scatters(
    family: FamilyReport,
    styles: Mapping[str, int],
    suffix: str,
    words: str,
    x: str | None = None,
    y: str | None = None,
) -> list[Figure]:
    """Two metrics of every complete run, and their front; one figure for each type of GPU where
    the cost depends on it, that with most runs first. Empty when no run has both."""
    rows = family.compared_rows
    # only the choices are tested, and a scatter is of every complete run
    is_tested = all(row.number(family.metric) is not None for row in rows)
    score = columns.find(y or (family.metric if is_tested else columns.SCORE))
    cost = _cost_axis(rows, score.key, x)
    if cost is None:
        return []
    known = [row for row in rows if _both(row, cost.key, score.key)]
    gpus = [gpu_of(row, cost.group) for row in known if cost.is_hardware_bound]
    names = sorted({gpu for gpu in gpus if gpu}, key=lambda gpu: (-gpus.count(gpu), gpu))
    if len(names) < 2:
        return [_scatter(family, known, (cost, score), styles, suffix, words)]
    found = []
    for number, gpu in enumerate(names):
        own = [row for row in known if gpu_of(row, cost.group) in (None, gpu)]
        slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
        mark = f"{suffix}-{slug}" if number else suffix
        found.append(_scatter(family, own, (cost, score), styles, mark, f" on {gpu}{words}"))
    return found


def _scatter(
    family: FamilyReport,
    known: Sequence[Row],
    axes: tuple[Column, Column],
    styles: Mapping[str, int],
    suffix: str,
    words: str,
) -> Figure:
    cost, score = axes
    points = [(row.number(cost.key) or 0.0, row.number(score.key) or 0.0) for row in known]
    on_front = pareto.front_of(known, cost, score)
    alike = pareto.comparable_in(known, cost)
    front = Series(
        "Pareto front",
        "front",
        NEUTRAL_STYLE,
        tuple(points[i][0] for i in on_front),
        tuple(points[i][1] for i in on_front),
        notes=_front_names(family, [known[i] for i in on_front]),
    )
    groups, below, shown = _far_below(_groups(family, known, points, styles))
    return Figure(
        f"pareto{suffix}",
        f"{score.title} against {cost.phrase}{words}",
        cost.heading,
        score.heading,
        (front, *groups),
        f"Every complete run ({cost.phrase}: {cost.better} is better). The line joins the "
        f"runs that no other run beats in both, with their names"
        f"{'' if all(alike) else _left_out(cost)}."
        f"{' The untouched base lies below the axis.' if below else ''}",
        levels=below,
        y_range=shown,
    )


def _far_below(
    series: Sequence[Series],
) -> tuple[tuple[Series, ...], tuple[Level, ...], tuple[float, float] | None]:
    """The series without the untouched base where that lies far below the runs; then its forms as
    levels, and what the axis shows."""
    runs = [y for one in series if one.style != NEUTRAL_STYLE for y in one.y]
    bases = [one for one in series if one.style == NEUTRAL_STYLE and one.kind == "points"]
    shown = range_without(runs, [y for one in bases for y in one.y])
    if shown is None:
        return tuple(series), (), None
    pairs = [(note, y) for one in bases for note, y in zip(one.notes, one.y, strict=True)]
    below = tuple(Level(note, y) for note, y in pairs if y < shown[0])
    return tuple(one for one in series if one not in bases), below, shown


def _front_names(family: FamilyReport, rows: Sequence[Row]) -> tuple[str, ...]:
    """Each variant on the front is named once, at its run with the best score, which is the last
    of its runs; the others stay blank."""
    labels = [base_label(row) if family.is_base(row) else family.label_of(row) for row in rows]
    return tuple(
        "" if label in labels[place + 1 :] else label for place, label in enumerate(labels)
    )


def _left_out(cost: Column) -> str:
    """Why some of the runs cannot stand on the line."""
    reasons = ["measured on another type of GPU"] if cost.is_hardware_bound else []
    reasons += ["whose answers are much longer or shorter"] if cost.is_per_answer else []
    return f", without runs {' or '.join(reasons)}"


def _groups(
    family: FamilyReport,
    rows: Sequence[Row],
    points: Sequence[tuple[float, float]],
    styles: Mapping[str, int],
) -> list[Series]:
    """One series per cell, the untouched base last."""
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(family.label_of(row), []).append(index)
    return [
        Series(
            label,
            "points",
            styles.get(label, NEUTRAL_STYLE),
            tuple(points[i][0] for i in indices),
            tuple(points[i][1] for i in indices),
            notes=tuple(describe_in(family, rows[i]) for i in indices),
        )
        for label, indices in sorted(groups.items(), key=lambda g: styles.get(g[0], len(styles)))
    ]


def _cost_axis(rows: Sequence[Row], score: str, wanted: str | None) -> Column | None:
    """The wanted axis, else the first one with at least two different values."""
    if wanted is not None:
        axis = columns.find(wanted)
        return axis if any(_both(row, wanted, score) for row in rows) else None
    for key in COST_AXES:
        if len({row.number(key) for row in rows if _both(row, key, score)}) > 1:
            return columns.find(key)
    return None


def _both(row: Row, x: str, y: str) -> bool:
    return row.number(x) is not None and row.number(y) is not None


def describe_in(family: FamilyReport, row: Row) -> str:
    """A point of a scatter in few words; of the untouched base, in which form it is."""
    return base_label(row) if family.is_base(row) else describe(row)


def describe(row: Row) -> str:
    """A run in few words: its tuned values and its seed."""
    names = {"learning_rate": "lr"}
    words = [f"{names.get(key, key)} {setting_text(value)}" for key, value in tuned_values(row)]
    return ", ".join([*words, f"seed {seed_of(row)}"])
