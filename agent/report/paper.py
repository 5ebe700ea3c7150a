"""Figures for papers: PDF and PNG at the widths of a column and of a page, by matplotlib without a
display."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.report.figures import NEUTRAL, Figure, Series
from agent.report.paper_marks import DASHES, colour_of, marker_of
from agent.report.paper_rows import draw_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

POINTS_PER_INCH = 72.27  # TeX's points
COLUMN_PT = 241.0  # one column of a two-column paper
PAGE_PT = 505.0  # both columns
WIDE_PT = 350.0  # from here on two panels stand side by side
HEIGHT_IN = 2.5
ROW_IN = 0.31  # of a horizontal figure
PNG_DPI = 300
LETTER_PT = 4.3  # of a tick's name
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


def render(
    figure: Figure, kinds: tuple[str, ...] = ("pdf", "png"), width_pt: float = COLUMN_PT
) -> dict[str, bytes]:
    """The figure's files by kind. The same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    width = width_pt / POINTS_PER_INCH
    with mpl.rc_context(STYLE):
        if figure.is_horizontal:
            canvas = _horizontal(figure, width)
        else:
            canvas = Canvas(figsize=(width, HEIGHT_IN), layout="constrained")
            axes = canvas.add_subplot()
            _draw_series(axes, figure, width)
            _legend(canvas, [axes], 5 if width_pt > WIDE_PT else 3)
        return {kind: _save(canvas, kind) for kind in kinds}


def _horizontal(figure: Figure, width: float) -> "Canvas":
    """A forest plot, with what stands beside it to the right or, in a narrow column, below."""
    from matplotlib.figure import Figure as Canvas

    is_wide = width * POINTS_PER_INCH > WIDE_PT
    count = len(figure.panels)
    height = 0.65 + ROW_IN * len(figure.rows)
    size = (width, height + 0.25 if is_wide else count * height + 0.35)
    canvas = Canvas(figsize=size, layout="constrained")
    columns = count if is_wide else 1
    drawn = canvas.subplots(count // columns, columns, squeeze=False, sharey=is_wide)
    panels = [axes for line in drawn for axes in line]
    for number, (axes, panel) in enumerate(zip(panels, figure.panels, strict=True)):
        draw_rows(axes, panel, has_names=number == 0 or not is_wide)
    _legend(canvas, panels, 4 if is_wide else 2)
    return canvas


def _save(canvas: "Canvas", kind: str) -> bytes:
    out = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}}.get(kind)
    canvas.savefig(out, format=kind, dpi=PNG_DPI, metadata=metadata)
    return out.getvalue()


def _draw_series(axes: "Axes", figure: Figure, width: float) -> None:
    for series in figure.series:
        if series.kind == "front":
            axes.plot(
                series.x,
                series.y,
                color=colour_of(series),
                lw=0.9,
                ls=(0, (2, 1)),
                zorder=1,
                label=series.label,
            )
        elif series.kind == "line":
            _draw_line(axes, series, figure.moved(series))
        elif series.is_pruned:
            xs = figure.moved(series)
            axes.plot(xs, series.y, "x", color=colour_of(series), ms=4, mew=0.9, zorder=2)
        else:  # rings: of two in one place both are seen
            axes.plot(
                series.x,
                series.y,
                marker_of(series),
                color=colour_of(series),
                mfc="none",
                ls="none",
                mew=1.0,
                zorder=3,
                ms=5,
                label=series.label,
            )
    _draw_levels(axes, figure)
    for series in figure.series:
        if series.kind == "front":
            _name_front(axes, series)
    _set_ticks(axes, figure, width)
    axes.set_xlabel(figure.x_title)
    axes.set_ylabel(figure.y_title)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _draw_levels(axes: "Axes", figure: Figure) -> None:
    """Lines across; of what lies below the axis the value stands at its foot."""
    if figure.y_range is not None:
        axes.set_ylim(*figure.y_range)
    below = []
    for number, level in enumerate(figure.levels):
        if figure.y_range is not None and level.value < figure.y_range[0]:
            below.append(f"{level.label} {level.value:.3f}")
            continue
        style: Any = (0, (1, 1.5 + 2 * number))
        axes.axhline(level.value, color=NEUTRAL["light"], lw=0.9, ls=style, label=level.label)
    if below:
        axes.annotate(
            f"below: {', '.join(below)}",
            (0, 0),
            xycoords="axes fraction",
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=6.3,
            color=NEUTRAL["light"],
        )


def _name_front(axes: "Axes", series: Series) -> None:
    """The names of the runs on the front, each on the side that has more room."""
    low, high = axes.get_xlim()
    named = [
        (float(x), y, n) for x, y, n in zip(series.x, series.y, series.notes, strict=True) if n
    ]
    for number, (x, y, name) in enumerate(named):
        is_left = x <= (low + high) / 2
        axes.annotate(
            name,
            (x, y),
            xytext=(5 if is_left else -5, -9 if number % 2 else 5),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontsize=6.3,
            zorder=6,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )


def _set_ticks(axes: "Axes", figure: Figure, width: float) -> None:
    """Ticks where something was measured: the tuned values, or whole epochs. Of values that lie
    close together only some are named, so that no two names touch."""
    from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

    values = sorted({float(x) for series in figure.series for x in series.x})
    if figure.is_log_x:
        axes.set_xscale("log")
        named = apart(values, width * POINTS_PER_INCH - 55)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(named, [_short(value) for value in named])
        axes.set_xticks([value for value in values if value not in named], minor=True)
    else:
        whole = all(value.is_integer() for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))


def apart(values: Sequence[float], width: float) -> list[float]:
    """Which of some values on a logarithmic axis of `width` points get a name: both ends, and those
    between them whose names touch no other."""
    if len(values) < 2:
        return list(values)
    low, high = math.log(values[0]), math.log(values[-1])
    scale = 0.9 * width / (high - low)

    def touches(one: float, other: float) -> bool:
        room = (len(_short(one)) + len(_short(other))) / 2 * LETTER_PT + LETTER_PT
        return abs(math.log(one) - math.log(other)) * scale < room

    kept = [values[0]]
    for value in values[1:-1]:
        if not touches(value, kept[-1]) and not touches(value, values[-1]):
            kept.append(value)
    return [*kept, values[-1]]


def _short(value: float) -> str:
    """1e-4 rather than 0.0001 and 1e-04."""
    text = f"{value:.3g}" if 0.01 <= value < 1e4 else f"{value:.2e}"
    digits, _, power = text.partition("e")
    return f"{float(digits):g}e{int(power)}" if power else text


def _draw_line(axes: "Axes", series: Series, xs: tuple[float, ...]) -> None:
    colour = colour_of(series)
    if series.is_faint:
        axes.plot(series.x, series.y, color=colour, lw=0.6, alpha=0.35, zorder=1)
        if series.is_pruned:
            axes.plot(series.x[-1:], series.y[-1:], "x", color=colour, ms=3.5, mew=0.8, zorder=2)
        return
    dash = DASHES[series.style % len(DASHES)]
    axes.plot(
        xs,
        series.y,
        color=colour,
        ls=dash,
        marker=marker_of(series),
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
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, lw=0)


def _legend(canvas: "Canvas", panels: Sequence["Axes"], most: int) -> None:
    handles, labels = [], []
    for axes in panels:
        found = axes.get_legend_handles_labels()
        handles += found[0]
        labels += found[1]
    if not handles:
        return
    longest = max(map(len, labels))
    columns = most if longest <= 15 else max(most - 1, 1) if longest < 24 else max(most // 2, 1)
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
