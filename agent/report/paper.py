"""Figures for papers: PDF and PNG at the widths of a column and of a page, by matplotlib without a
display."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.report.figures import NEUTRAL, NEUTRAL_STYLE, Figure, Series
from agent.results.presentation import LIGHT

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
LABEL_LETTERS = 36  # of a line below an axis, which may be short
LETTER_PT = 4.3  # of a tick's name
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


def _colour(series: Series) -> str:
    if series.style == NEUTRAL_STYLE:
        return NEUTRAL["light"]
    return LIGHT[series.style % len(LIGHT)]


def _marker(series: Series) -> str:
    if series.symbol is not None:
        return MARKERS[(series.symbol) % len(MARKERS)]
    return "X" if series.style == NEUTRAL_STYLE else MARKERS[series.style % len(MARKERS)]


def _draw_series(axes: "Axes", figure: Figure, width: float) -> None:
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
            _draw_line(axes, series, figure.moved(series))
        elif series.is_pruned:
            xs = figure.moved(series)
            axes.plot(xs, series.y, "x", color=_colour(series), ms=4, mew=0.9, zorder=2)
        else:  # rings: of two in one place both are seen
            axes.plot(
                series.x,
                series.y,
                _marker(series),
                color=_colour(series),
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
    colour = _colour(series)
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
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, lw=0)


def draw_rows(axes: "Axes", figure: Figure, *, has_names: bool) -> None:
    """Intervals and points over named rows, the first on top; no row begins at 0."""
    if figure.x_range is not None:
        axes.set_xlim(*figure.x_range)
    for series in figure.series:
        if series.kind == "interval":
            _draw_interval(axes, figure, series)
        else:
            axes.plot(
                [figure.place_of(float(x)) for x in series.x],
                series.y,
                _marker(series),
                color="black",
                mfc="white",
                mew=0.8,
                ms=3.5,
                ls="none",
                zorder=5,
                label=series.label,
            )
    if figure.reference is not None:
        axes.axvline(figure.reference, color="black", lw=0.7, ls=(0, (3, 2)), zorder=1)
    if has_names:
        notes = figure.row_notes or ("",) * len(figure.rows)
        pairs = zip(figure.rows, notes, strict=True)
        names = [f"{row}\n{note}" if note else row for row, note in pairs]
        axes.set_yticks(range(len(names)), names, fontsize=7, linespacing=0.95)
        axes.set_ylim(len(figure.rows) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0, labelleft=has_names)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(textwrap.fill(figure.x_title, LABEL_LETTERS))


def _draw_interval(axes: "Axes", figure: Figure, series: Series) -> None:
    """A point with its interval and, above it, both as text."""
    value, row = float(series.x[0]), series.y[0]
    place, edge = figure.place_of(value), figure.edge_of(value)
    colour = _colour(series)
    ends = [end for end in (*series.low, *series.high) if end is not None]
    if len(ends) == 2 and not edge:
        drawn = [figure.place_of(end) for end in ends]
        axes.plot(drawn, [row, row], color=colour, lw=1.3, zorder=2, solid_capstyle="butt")
        for end in ends:
            mark = "|" if not figure.edge_of(end) else "<" if figure.edge_of(end) < 0 else ">"
            axes.plot(figure.place_of(end), row, mark, color=colour, ms=4, zorder=2, clip_on=False)
    mark = {0: _marker(series), -1: "<", 1: ">"}[edge]
    face = "white" if series.is_hollow else colour
    axes.plot(place, row, mark, color=colour, mfc=face, mew=1.1, ms=5, zorder=4, clip_on=False)
    low, high = axes.get_xlim()
    share = (place - low) / (high - low)
    axes.annotate(
        series.notes[0],
        (place, row),
        xytext=(-7 * edge, -2.2 if edge else 4.5),
        textcoords="offset points",
        ha="left" if share < 0.25 else "right" if share > 0.75 else "center",
        fontsize=6.3,
        zorder=6,
    )


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
