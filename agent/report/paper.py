"""Figures for papers: PDF and PNG at column width, by matplotlib without a display."""

import io
from typing import TYPE_CHECKING, Any

from agent.report.figures import NEUTRAL, NEUTRAL_STYLE, Figure, Series
from agent.results.presentation import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMN_WIDTH_IN = 3.35  # one column of a two-column paper
HEIGHT_IN = 2.5
PNG_DPI = 300
MOST_TICKS = 7
MARKERS = ("o", "s", "D", "^", "v", "p", "*")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (4, 1, 1, 1)),
    (0, (7, 2)),
    "--",
    ":",
)
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "pdf.fonttype": 42,  # text stays text: editable, searchable, accepted by publishers
    "svg.hashsalt": "report",
}


def render(figure: Figure, kinds: tuple[str, ...] = ("pdf", "png")) -> dict[str, bytes]:
    """The figure's files by kind. The same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        bars = sum(series.kind == "bars" for series in figure.series)
        height = 0.95 + 0.24 * bars if figure.is_horizontal else HEIGHT_IN
        canvas = Canvas(figsize=(COLUMN_WIDTH_IN, height), layout="constrained")
        axes = canvas.add_subplot()
        if figure.is_horizontal:
            _draw_bars(axes, figure)
        else:
            _draw_series(axes, figure)
        _legend(canvas, axes, figure)
        return {kind: _save(canvas, kind) for kind in kinds}


def _save(canvas: "Canvas", kind: str) -> bytes:
    out = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}}.get(kind)
    canvas.savefig(out, format=kind, dpi=PNG_DPI, metadata=metadata)
    return out.getvalue()


def _colour(series: Series) -> str:
    if series.style == NEUTRAL_STYLE:
        return NEUTRAL["light"]
    return LIGHT[series.style % len(LIGHT)]


def _marker(series: Series) -> str:
    return "X" if series.style == NEUTRAL_STYLE else MARKERS[series.style % len(MARKERS)]


def _draw_series(axes: "Axes", figure: Figure) -> None:
    for series in figure.series:
        if series.kind == "front":
            axes.plot(
                series.x,
                series.y,
                color=_colour(series),
                lw=0.9,
                ls=(0, (2, 1)),
                zorder=1,
                label=series.label,
            )
        elif series.kind == "line":
            _draw_line(axes, series)
        elif series.is_pruned:
            axes.plot(series.x, series.y, "x", color=_colour(series), ms=4, mew=0.9, zorder=2)
        else:
            axes.plot(
                series.x,
                series.y,
                _marker(series),
                color=_colour(series),
                alpha=0.85,
                zorder=3,
                mec="white",
                mew=0.4,
                ms=5,
                label=series.label,
            )
    _set_ticks(axes, figure)
    axes.set_xlabel(figure.x_title)
    axes.set_ylabel(figure.y_title)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _set_ticks(axes: "Axes", figure: Figure) -> None:
    """Ticks where something was measured: the tuned values, or whole epochs."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    values = sorted({float(x) for series in figure.series for x in series.x})
    if figure.is_log_x:
        axes.set_xscale("log")
        if len(values) <= MOST_TICKS:
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(values, [_short(value) for value in values])
    else:
        whole = all(value.is_integer() for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))


def _short(value: float) -> str:
    """1e-4 rather than 0.0001 and 1e-04."""
    text = f"{value:.3g}" if 0.01 <= value < 1e4 else f"{value:.2e}"
    digits, _, power = text.partition("e")
    return f"{float(digits):g}e{int(power)}" if power else text


def _draw_line(axes: "Axes", series: Series) -> None:
    colour = _colour(series)
    if series.is_faint:
        axes.plot(series.x, series.y, color=colour, lw=0.6, alpha=0.35, zorder=1)
        if series.is_pruned:
            axes.plot(series.x[-1:], series.y[-1:], "x", color=colour, ms=3.5, mew=0.8, zorder=2)
        return
    dash = DASHES[series.style % len(DASHES)]
    axes.plot(
        series.x,
        series.y,
        color=colour,
        ls=dash,
        marker=_marker(series),
        mec="white",
        mew=0.4,
        label=series.label,
        zorder=3,
    )
    if series.low and any(low != high for low, high in zip(series.low, series.high, strict=True)):
        low = [
            value if value is not None else y for value, y in zip(series.low, series.y, strict=True)
        ]
        high = [
            value if value is not None else y
            for value, y in zip(series.high, series.y, strict=True)
        ]
        axes.fill_between([float(x) for x in series.x], low, high, color=colour, alpha=0.15, lw=0)


def _draw_bars(axes: "Axes", figure: Figure) -> None:
    """Lying bars, first on top; points of other series sit on the bar they name."""
    bars = [series for series in figure.series if series.kind == "bars"]
    places = {series.label: len(bars) - 1 - index for index, series in enumerate(bars)}
    for series in bars:
        _draw_bar(axes, series, places[series.label])
    for series in figure.series:
        if series.kind == "points":
            axes.plot(
                series.x,
                [places[name] for name in series.notes],
                "D",
                color="white",
                mec="black",
                mew=0.8,
                ms=3.5,
                zorder=5,
                label=series.label,
            )
    if figure.reference is not None:
        axes.axvline(figure.reference, color="black", lw=0.7, ls=(0, (3, 2)), zorder=3)
    axes.set_yticks(list(places.values()), list(places))
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.set_xlabel(figure.x_title)


def _draw_bar(axes: "Axes", series: Series, place: int) -> None:
    """One bar with its interval, and its value behind both."""
    value = float(series.x[0])
    fill: dict[str, Any] = {"color": _colour(series), "alpha": 0.85}
    hollow: dict[str, Any] = {"facecolor": "none", "edgecolor": _colour(series), "linewidth": 1.1}
    axes.barh(place, value, height=0.62, zorder=2, **(hollow if series.is_hollow else fill))
    ends = [value, *(end for end in (*series.low, *series.high) if end is not None)]
    if len(ends) == 3:
        gaps = [[max(value - ends[1], 0.0)], [max(ends[2] - value, 0.0)]]
        axes.errorbar(
            value,
            place,
            xerr=gaps,
            fmt="none",
            ecolor="black",
            elinewidth=0.8,
            capsize=2,
            zorder=4,
        )
    axes.annotate(
        f"{value:.0f}",
        (max(ends), place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )


def _legend(canvas: "Canvas", axes: "Axes", figure: Figure) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 1 if figure.is_horizontal else 3 if max(map(len, labels)) <= 15 else 2
    canvas.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.0,
        handletextpad=0.5,
        borderaxespad=0.2,
    )
