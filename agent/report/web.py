"""The report as one HTML file that opens without internet: Plotly and all data stand inside it."""

import itertools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from agent.report.figures import NEUTRAL, NEUTRAL_STYLE, Figure, Series
from agent.report.plots import describe_in
from agent.report.tables import family_tables, runs_table
from agent.results import pareto
from agent.results.columns import Column
from agent.results.costs import spending_sentences
from agent.results.presentation import DARK, LIGHT, setting_text
from agent.results.study import FamilyReport, Study

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
FAINT = 0.35
MARKED = 0.7  # a pruned run behind the chosen ones: its cross has to be seen
SHORT_BAR = 20  # percent: below that the number doesn't fit inside


def page(study: Study, figures: Sequence[Figure]) -> str:
    """The whole HTML text."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("agent.report").joinpath("report.html.jinja").read_text("utf-8")
    drawn, scatters = payload(study, figures)
    sections = [
        {
            "family": family,
            "number": number,
            "tables": tables,
            "figures": _figures_of(study, figures, number),
            "scatter": f"scatter-{number}" if f"scatter-{number}" in scatters else "",
        }
        for number, (family, tables) in enumerate(
            zip(study.families, family_tables(study), strict=True), start=1
        )
    ]
    return environment.from_string(source).render(
        study=study,
        sections=sections,
        runs=runs_table(study),
        spending=spending_sentences(study.spending),
        plotly=get_plotlyjs(),
        data=embed(
            {
                "figures": drawn,
                "scatters": scatters,
                "palette": {"light": [*LIGHT], "dark": [*DARK]},
                "neutral": NEUTRAL,
                "symbols": SYMBOLS,
            }
        ),
    )


def _figures_of(study: Study, figures: Sequence[Figure], number: int) -> list[Figure]:
    """The figures of one family; its Pareto scatter is drawn with axes the reader chooses."""
    suffix = f"-{number}" if len(study.families) > 1 else ""
    order = [name + suffix for name in ("retention", "convergence", "learning_rates")]
    return sorted((f for f in figures if f.name in order), key=lambda f: order.index(f.name))


def embed(value: object) -> str:
    """JSON that may stand inside a script element: no markup, and no NaN."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def payload(study: Study, figures: Sequence[Figure]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures by name as Plotly's `data` and `layout`, and the scatters by element id."""
    drawn = {f.name: to_plotly(f) for f in figures if not f.name.startswith("pareto")}
    chosen = {f.name: f for f in figures if f.name.startswith("pareto")}
    scatters = {}
    for number, family in enumerate(study.families, start=1):
        suffix = f"-{number}" if len(study.families) > 1 else ""
        found = scatter(family, study, chosen.get(f"pareto{suffix}"))
        if found is not None:
            scatters[f"scatter-{number}"] = found
    return drawn, scatters


def to_plotly(figure: Figure) -> dict[str, Any]:
    """`data` and `layout` without colours: `meta.style` says which one the page's theme gives."""
    x_axis: dict[str, Any] = {"title": {"text": figure.x_title}}
    y_axis: dict[str, Any] = {"title": {"text": figure.y_title}, "automargin": True}
    shapes: list[dict[str, Any]] = []
    if figure.is_log_x:
        values = sorted({float(x) for series in figure.series for x in series.x})
        x_axis |= {"type": "log", "tickvals": values, "ticktext": [setting_text(v) for v in values]}
    if figure.is_horizontal:
        y_axis |= {"autorange": "reversed", "type": "category"}
        x_axis |= {"rangemode": "tozero"}
    if figure.reference is not None:
        line = {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"dash": "dash", "width": 1},
        }
        shapes.append({**line, "x0": figure.reference, "x1": figure.reference})
    return {
        "data": [_trace(series, figure) for series in figure.series],
        "layout": {"xaxis": x_axis, "yaxis": y_axis, "shapes": shapes, "bargap": 0.35},
    }


def _trace(series: Series, figure: Figure) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "name": series.label,
        "x": list(series.x),
        "y": list(series.y),
        "meta": {"style": series.style, **({"hollow": True} if series.is_hollow else {})},
        "showlegend": series.is_named,
        "legendgroup": f"cell {series.style}",
        "opacity": (MARKED if series.is_pruned else FAINT) if series.is_faint else 1.0,
        "text": list(series.notes) or None,
        "hovertemplate": "%{x:.4g}, %{y:.3f}<br>%{text}" if series.notes else "%{x:.4g}, %{y:.3f}",
    }
    if series.kind == "bars":
        return {**trace, **_bar(series)}
    trace["type"] = "scatter"
    if figure.is_horizontal:  # points on bars sit at the bar they name
        trace |= {"y": list(series.notes), "text": None, "hovertemplate": "%{x:.1f} %"}
    if series.kind == "line":
        return {**trace, **_line(series)}
    symbol = "x-thin" if series.is_pruned else _symbol(series)
    marker = {"symbol": symbol, "size": 9, "line": {"width": 2 if series.is_pruned else 1}}
    return {**trace, "mode": "markers", "marker": marker}


def _bar(series: Series) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": [series.label],
        "text": [f"{float(value):.1f} %" for value in series.x],
        "textposition": "outside" if float(series.x[0]) < SHORT_BAR else "inside",
        "insidetextanchor": "start",
        "hovertemplate": "%{x:.1f} %",
    }
    if series.low and series.high:
        bar["error_x"] = _errors(series, [float(x) for x in series.x])
    return bar


def _line(series: Series) -> dict[str, Any]:
    if series.is_faint:
        last = len(series.x) - 1
        sizes = [9 if series.is_pruned and i == last else 0.1 for i in range(last + 1)]
        marker = {"symbol": "x-thin", "size": sizes, "line": {"width": 1.5}}
        return {"mode": "lines+markers", "line": {"width": 1}, "marker": marker}
    dash = DASHES[series.style % len(DASHES)]
    line: dict[str, Any] = {
        "mode": "lines+markers",
        "line": {"dash": dash, "width": 2},
        "marker": {"symbol": _symbol(series), "size": 8},
    }
    if series.low and any(low != high for low, high in zip(series.low, series.high, strict=True)):
        line["error_y"] = _errors(series, list(series.y))
    return line


def _errors(series: Series, middle: Sequence[float]) -> dict[str, Any]:
    """Distances to the ends, which need not be symmetric."""
    pairs = zip(series.low, series.high, middle, strict=True)
    ends = [(m if low is None else low, m if high is None else high, m) for low, high, m in pairs]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - m, 0.0) for _, high, m in ends],
        "arrayminus": [max(m - low, 0.0) for low, _, m in ends],
        "thickness": 1.2,
        "width": 3,
    }


def _symbol(series: Series) -> str:
    return "diamond-open" if series.style == NEUTRAL_STYLE else SYMBOLS[series.style % len(SYMBOLS)]


def scatter(family: FamilyReport, study: Study, first: Figure | None) -> dict[str, Any] | None:
    """Every complete run with all its numbers, and the Pareto front of every pair of metrics."""
    rows = family.compared_rows
    axes = [
        c for c in study.columns if c.group != "cost" and not c.is_context and _has_two(rows, c)
    ]
    if len(axes) < 2:
        return None
    styles = study.styles()
    points = []
    for row in rows:
        label = family.label_of(row)
        numbers = {axis.key: row.number(axis.key) for axis in axes}
        text = describe_in(family, row)
        style = styles.get(label, NEUTRAL_STYLE)
        points.append({"label": label, "style": style, "text": text, "values": numbers})
    fronts = {
        f"{x.key} {y.key}": pareto.front_of(rows, x, y) for x, y in itertools.combinations(axes, 2)
    }
    by_heading = {axis.heading: axis.key for axis in axes}
    x_first = by_heading.get(first.x_title) if first else None
    y_first = by_heading.get(first.y_title) if first else None
    return {
        "axes": [{"key": a.key, "heading": a.heading, "better": a.better} for a in axes],
        "points": points,
        "fronts": fronts,
        "x": x_first or axes[-1].key,
        "y": y_first or axes[0].key,
    }


def _has_two(rows: Sequence[Any], column: Column) -> bool:
    return sum(row.number(column.key) is not None for row in rows) > 1
