"""The figures of a family of runs, as data: convergence and learning rates, and those of `forest`
and `trade_off`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.report.figures import Figure, Level, Series, range_without
from agent.report.forest import retention_and_cost
from agent.report.trade_off import describe, pareto_scatters
from agent.results import columns
from agent.results.comparable import BASE, tuned_values
from agent.results.run_table import Row
from agent.results.selection import candidates_of
from agent.results.study import CellReport, FamilyReport, Study


def figures_of(study: Study, x: str | None = None, y: str | None = None) -> tuple[Figure, ...]:
    """Every figure that has data; `x` and `y` choose the Pareto axes."""
    styles = study.styles()
    found: list[Figure] = []
    for number, family in enumerate(study.families, start=1):
        mark = Mark(f"-{number}", f" ({family.label})") if len(study.families) > 1 else Mark("", "")
        drawn = (
            convergence(family, styles, mark),
            learning_rates(family, styles, mark),
            retention_and_cost(family, styles, mark.suffix, mark.words),
            *pareto_scatters(family, styles, mark.suffix, mark.words, x, y),
        )
        found += [figure for figure in drawn if figure is not None]
    return tuple(found)


@dataclass(frozen=True)
class Mark:
    """What distinguishes one family's figures from another's: in file names and in titles."""

    suffix: str
    words: str


def convergence(family: FamilyReport, styles: Mapping[str, int], mark: Mark) -> Figure | None:
    """Score over epochs: each cell's chosen setting in front, its other runs behind."""
    series: list[Series] = []
    for cell in family.cells:
        style = styles[cell.label]
        chosen = cell.selection.chosen.rows if cell.selection.chosen else ()
        for row in cell.rows:
            curve = row.curve()
            if not curve or any(row is other for other in chosen):
                continue
            xs, ys = (tuple(part) for part in zip(*curve, strict=True))
            notes = ("",) * (len(xs) - 1) + (row.stopped_at or describe(row),)
            series.append(
                Series(
                    f"{cell.label}, {describe(row)}",
                    "line",
                    style,
                    xs,
                    ys,
                    notes=notes,
                    is_faint=True,
                    is_pruned=row.is_pruned,
                    is_named=False,
                )
            )
        if front := _chosen_curve(cell, style):
            series.append(front)
    if not any(len(s.x) > 0 for s in series):
        return None
    caption = (
        "Thick: each variant at its best learning rate, mean over seeds (band or bars: lowest to "
        "highest seed). Thin: its other runs; a cross marks where a run was pruned."
    )
    return Figure(
        f"convergence{mark.suffix}",
        f"Convergence{mark.words}",
        "Epoch",
        "Validation F1",
        tuple(sorted(series, key=lambda s: not s.is_faint)),
        caption,
    )


def _chosen_curve(cell: CellReport, style: int) -> Series | None:
    """Mean over the seeds, at the points that every seed reported."""
    if cell.selection.chosen is None:
        return None
    curves = [dict(row.curve()) for row in cell.selection.chosen.rows]
    epochs = sorted(set(curves[0]).intersection(*curves[1:]))
    if not epochs:
        return None
    scores = [[curve[epoch] for curve in curves] for epoch in epochs]
    several = len(curves) > 1
    return Series(
        cell.label,
        "line",
        style,
        tuple(epochs),
        tuple(statistics.fmean(at) for at in scores),
        tuple(min(at) for at in scores) if several else (),
        tuple(max(at) for at in scores) if several else (),
    )


def learning_rates(family: FamilyReport, styles: Mapping[str, int], mark: Mark) -> Figure | None:
    """Final score over the tuned value; pruned runs hollow, at the score of their last rung."""
    key = _tuned_number(family.family.rows)
    if key is None:
        return None
    series: list[Series] = []
    for cell in family.cells:
        style = styles[cell.label]
        points: dict[float, list[float]] = {}
        for found in candidates_of(cell.rows).values():
            value = dict(found[0].tuned).get(key)
            if isinstance(value, int | float):
                points.setdefault(float(value), []).extend(s for _, s in found[0].by_seed)
        if points:
            rates = sorted(points)
            series.append(
                Series(
                    cell.label,
                    "line",
                    style,
                    tuple(rates),
                    tuple(statistics.fmean(points[rate]) for rate in rates),
                    tuple(min(points[rate]) for rate in rates),
                    tuple(max(points[rate]) for rate in rates),
                )
            )
        series += _pruned_points(cell, key, style)
    if not series:
        return None
    levels = _base_levels(family)
    return Figure(
        f"learning_rates{mark.suffix}",
        f"Score over {key.replace('_', ' ')}{mark.words}",
        key.replace("_", " ").capitalize(),
        "Validation F1",
        tuple(series),
        "Mean over seeds at the last evaluation point (bars: lowest to highest seed). Crosses: "
        "pruned runs at their last rung, not comparable with the lines. Points of one rate are "
        f"moved apart a little.{' Dotted: the untouched base.' if levels else ''}",
        is_log_x=all(isinstance(x, int | float) and x > 0 for s in series for x in s.x),
        is_dodged=True,
        levels=levels,
        y_range=range_without([y for s in series for y in s.y], [one.value for one in levels]),
    )


def _base_levels(family: FamilyReport) -> tuple[Level, ...]:
    """The untouched base's validation score in each form; forms that score alike share a line."""
    scores: dict[float, list[str]] = {}
    for base in family.bases:
        score = base.row.number(columns.SCORE)
        if score is not None:
            scores.setdefault(round(score, 3), []).append(base.label)
    return tuple(
        Level(labels[0] if len(labels) == 1 else BASE, score) for score, labels in scores.items()
    )


def _pruned_points(cell: CellReport, key: str, style: int) -> list[Series]:
    stopped = [row for row in cell.rows if row.is_pruned and row.curve() and row.number(key)]
    if not stopped:
        return []
    return [
        Series(
            f"{cell.label}, pruned",
            "points",
            style,
            tuple(row.number(key) or 0.0 for row in stopped),
            tuple(row.curve()[-1][1] for row in stopped),
            notes=tuple(f"pruned at {row.stopped_at}" for row in stopped),
            is_pruned=True,
            is_named=False,
        )
    ]


def _tuned_number(rows: Sequence[Row]) -> str | None:
    """The first tuned key with numbers: what the learning-rate figure has on its axis."""
    keys = dict.fromkeys(key for row in rows for key, _ in tuned_values(row))
    return next((key for key in keys if any(row.number(key) is not None for row in rows)), None)
