"""Figures as Plotly's traces, without colours: the page gives them those of its theme."""

import html
from collections.abc import Sequence
from typing import Any

from agent.report.figures import NEUTRAL_STYLE, Figure, Level, Series
from agent.results.presentation import setting_text

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
FAINT = 0.35
MARKED = 0.7  # a pruned run behind the chosen ones: its cross has to be seen


def to_plotly(figure: Figure) -> dict[str, Any]:
    """`data` and `layout` without colours: `meta.style` says which one the page's theme gives."""
    x_axis: dict[str, Any] = {"title": {"text": figure.x_title}}
    y_axis: dict[str, Any] = {"title": {"text": figure.y_title}, "automargin": True}
    if figure.is_log_x:  # the page names as many of the ticks as it has room for
        values = sorted({float(x) for series in figure.series for x in series.x})
        x_axis |= {"type": "log", "tickvals": values, "ticktext": [setting_text(v) for v in values]}
    if figure.is_horizontal:
        places = list(range(len(figure.rows)))
        y_axis |= {"tickvals": places, "ticktext": _row_names(figure), "zeroline": False}
        y_axis |= {"range": [len(places) - 0.4, -0.75], "fixedrange": True}
        x_axis |= {"range": figure.x_range, "zeroline": False}
    if figure.y_range is not None:
        y_axis["range"] = figure.y_range
    return {
        "data": [_trace(series, figure) for series in figure.series],
        "layout": {
            "xaxis": x_axis,
            "yaxis": y_axis,
            "shapes": _lines(figure),
            "annotations": _foot(figure),
        },
    }


def _lines(figure: Figure) -> list[dict[str, Any]]:
    """The reference and the levels that the axis shows."""
    shapes: list[dict[str, Any]] = []
    if figure.reference is not None:
        at = {"x0": figure.reference, "x1": figure.reference, "yref": "paper", "y0": 0, "y1": 1}
        shapes.append({"type": "line", **at, "line": {"dash": "dash", "width": 1}})
    for level in _shown(figure):
        at = {"y0": level.value, "y1": level.value, "xref": "paper", "x0": 0, "x1": 1}
        shapes.append({"type": "line", **at, "line": {"dash": "dot", "width": 1.2}})
    return shapes


def _shown(figure: Figure) -> list[Level]:
    low = float("-inf") if figure.y_range is None else figure.y_range[0]
    return [level for level in figure.levels if level.value >= low]


def _foot(figure: Figure) -> list[dict[str, Any]]:
    """The names of the levels: on their lines, or at the foot where they lie below the axis."""
    shown = _shown(figure)
    below = [level for level in figure.levels if level not in shown]
    common = {"xref": "paper", "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    found: list[dict[str, Any]] = []
    if shown:  # one name for lines that may lie close together
        words = html.escape(", ".join(level.label for level in shown))
        found.append({**common, "x": 0.01, "y": max(one.value for one in shown), "text": words})
    if below:
        words = ", ".join(f"{level.label} {level.value:.3f}" for level in below)
        text = html.escape(f"below: {words}")
        found.append({**common, "x": 0.01, "yref": "paper", "y": 0, "text": text})
    return found


def _row_names(figure: Figure) -> list[str]:
    """Row names as Plotly's own markup: `n` and seeds small, on a second line."""
    notes = figure.row_notes or ("",) * len(figure.rows)
    return [
        html.escape(row)
        + (f'<br><span style="font-size:10px">{html.escape(note)}</span>' * bool(note))
        for row, note in zip(figure.rows, notes, strict=True)
    ]


def _trace(series: Series, figure: Figure) -> dict[str, Any]:
    if series.kind == "interval":
        return _interval(series, figure)
    texts = [html.escape(note) for note in series.notes]
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": html.escape(series.label),
        "x": list(series.x),
        "y": list(series.y),
        "meta": {"style": series.style},
        "showlegend": series.is_named,
        "legendgroup": f"cell {series.style}",
        "opacity": (MARKED if series.is_pruned else FAINT) if series.is_faint else 1.0,
        "text": texts or None,
        "hovertemplate": "%{x:.4g}, %{y:.3f}<br>%{text}" if texts else "%{x:.4g}, %{y:.3f}",
    }
    if figure.is_horizontal:
        trace |= {"hovertemplate": "%{text}: %{x:.1f} %", "legendgroup": series.label}
    if series.kind == "line":
        return {**trace, "x": list(figure.moved(series)), **_line(series)}
    if series.is_pruned:
        trace["x"] = list(figure.moved(series))
    symbol = "x-thin" if series.is_pruned else _symbol(series)
    marker = {"symbol": symbol, "size": 9, "line": {"width": 2 if series.is_pruned else 1}}
    return {**trace, "mode": "markers", "marker": marker}


def _interval(series: Series, figure: Figure) -> dict[str, Any]:
    """A point with its interval, which ends at the edge of the axis where that is nearer."""
    value = float(series.x[0])
    place, edge = figure.place_of(value), figure.edge_of(value)
    low, high = figure.x_range or (value, value)
    share = (place - low) / (high - low) if high > low else 0.5
    side = "right" if share < 0.2 else "left" if share > 0.85 else "center"
    ends = [end for end in (*series.low, *series.high) if end is not None]
    arrow = {0: "", -1: "◀ ", 1: " ▶"}[edge]
    said = html.escape(series.notes[0])
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "text" if edge else "markers+text",
        "name": html.escape(series.label),
        "x": [place],
        "y": list(series.y),
        "meta": {"style": series.style, **({"hollow": True} if series.is_hollow else {})},
        "showlegend": False,
        "text": [said + arrow if edge > 0 else arrow + said],
        "textposition": f"{'middle' if edge else 'top'} {side}",
        "textfont": {"size": 11},
        "cliponaxis": False,
        "hovertemplate": f"{html.escape(series.label)}: %{{text}}<extra></extra>",
        "marker": {
            "symbol": _symbol(series),
            "size": 10,
            "line": {"width": 1},
        },
    }
    if len(ends) == 2 and not edge:
        gaps = [abs(figure.place_of(end) - place) for end in ends]
        trace["error_x"] = {
            **{"type": "data", "symmetric": False, "arrayminus": gaps[:1], "array": gaps[1:]},
            **{"thickness": 1.6, "width": 4},
        }
    return trace


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
    if series.symbol is not None:
        return SYMBOLS[series.symbol % len(SYMBOLS)]
    return "diamond-open" if series.style == NEUTRAL_STYLE else SYMBOLS[series.style % len(SYMBOLS)]
