"""A forest plot in a paper: intervals and points over named rows."""

import textwrap
from typing import TYPE_CHECKING

from agent.report.figures import Figure, Series
from agent.report.paper_marks import colour_of, marker_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_LETTERS = 36  # of a line below an axis, which may be short


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
                marker_of(series),
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
    colour = colour_of(series)
    ends = [end for end in (*series.low, *series.high) if end is not None]
    if len(ends) == 2 and not edge:
        drawn = [figure.place_of(end) for end in ends]
        axes.plot(drawn, [row, row], color=colour, lw=1.3, zorder=2, solid_capstyle="butt")
        for end in ends:
            mark = "|" if not figure.edge_of(end) else "<" if figure.edge_of(end) < 0 else ">"
            axes.plot(figure.place_of(end), row, mark, color=colour, ms=4, zorder=2, clip_on=False)
    mark = {0: marker_of(series), -1: "<", 1: ">"}[edge]
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
