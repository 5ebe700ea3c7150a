"""The four figures of a family of runs, as data: convergence, learning rates, retention, Pareto."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.report.figures import NEUTRAL_STYLE, Figure, Series
from agent.results import columns, pareto
from agent.results.columns import COST_AXES, Column
from agent.results.comparable import BASELINE, base_label, seed_of, tuned_values
from agent.results.presentation import setting_text
from agent.results.retention import Retention
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
            retention_bars(family, styles, mark),
            pareto_scatter(family, styles, mark, x, y),
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
    return Figure(
        f"learning_rates{mark.suffix}",
        f"Score over {key.replace('_', ' ')}{mark.words}",
        key.replace("_", " ").capitalize(),
        "Validation F1",
        tuple(series),
        "Mean over seeds at the last evaluation point (bars: lowest to highest seed). Crosses: "
        "pruned runs at their last rung, not comparable with the lines.",
        is_log_x=all(isinstance(x, int | float) and x > 0 for s in series for x in s.x),
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


def retention_bars(family: FamilyReport, styles: Mapping[str, int], mark: Mark) -> Figure | None:
    """Retention of every cell and of the untouched base, best against best and matched."""
    bars = [(cell.label, styles[cell.label], cell.best) for cell in family.cells]
    bars += [(base.label, NEUTRAL_STYLE, base.retention) for base in family.bases]
    series = [_bar(label, style, found) for label, style, found in bars if found.value is not None]
    if not series:
        return None
    matched = [
        (cell.label, cell.matched)
        for cell in family.cells
        if cell.matched.value is not None and not cell.is_baseline
    ]
    if matched:
        series.append(
            Series(
                "same learning rate and seed",
                "points",
                NEUTRAL_STYLE,
                tuple(100 * (found.value or 0.0) for _, found in matched),
                (0.0,) * len(matched),
                notes=tuple(label for label, _ in matched),
            )
        )
    return Figure(
        f"retention{mark.suffix}",
        f"Performance retention{mark.words}",
        f"Retention (% of {BASELINE}'s {columns.find(family.metric).phrase})",
        "",
        tuple(series),
        "Bars: each variant at its own best learning rate, with the 95 % interval over seeds and "
        "examples where per-example scores are known. Hollow: one seed, so that the noise of "
        "training is not included and nothing is significant. Diamonds: at the variant's learning "
        f"rate and seeds, against {BASELINE} at the same ones.",
        reference=100.0,
    )


def _bar(label: str, style: int, found: Retention) -> Series:
    ends = found.interval
    return Series(
        label,
        "bars",
        style,
        (100 * (found.value or 0.0),),
        (0.0,),
        (100 * ends.low,) if ends else (),
        (100 * ends.high,) if ends else (),
        (label,),
        is_named=False,
        is_hollow=found.is_one_seed,
    )


def pareto_scatter(
    family: FamilyReport,
    styles: Mapping[str, int],
    mark: Mark,
    x: str | None = None,
    y: str | None = None,
) -> Figure | None:
    """Two metrics of every complete run, and their front. None when no run has both."""
    rows = family.compared_rows
    # only the choices are tested, and a scatter is of every complete run
    is_tested = all(row.number(family.metric) is not None for row in rows)
    score = columns.find(y or (family.metric if is_tested else columns.SCORE))
    cost = _cost_axis(rows, score.key, x)
    if cost is None:
        return None
    known = [row for row in rows if _both(row, cost.key, score.key)]
    points = [(row.number(cost.key) or 0.0, row.number(score.key) or 0.0) for row in known]
    on_front = pareto.front_of(known, cost, score)
    alike = pareto.comparable_in(known, cost)
    series = _scatter_series(family, known, points, styles)
    front = Series(
        "Pareto front",
        "front",
        NEUTRAL_STYLE,
        tuple(points[i][0] for i in on_front),
        tuple(points[i][1] for i in on_front),
    )
    return Figure(
        f"pareto{mark.suffix}",
        f"{score.title} against {cost.phrase}{mark.words}",
        cost.heading,
        score.heading,
        (front, *series),
        f"Every complete run ({cost.phrase}: {cost.better} is better). The line joins the "
        f"runs that no other run beats in both{'' if all(alike) else _left_out(cost)}.",
    )


def _left_out(cost: Column) -> str:
    """Why some of the runs cannot stand on the line."""
    reasons = ["measured on another type of GPU"] if cost.is_hardware_bound else []
    reasons += ["whose answers are much longer or shorter"] if cost.is_per_answer else []
    return f", without runs {' or '.join(reasons)}"


def _scatter_series(
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
