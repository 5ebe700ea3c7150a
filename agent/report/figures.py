"""What a figure shows, apart from how it is drawn.

One `Figure` is drawn twice (matplotlib for papers, Plotly for the page) and written as CSV, so
that the three never disagree.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "points", "interval", "front"]

NEUTRAL = {"light": "#767676", "dark": "#9A9A9A"}
NEUTRAL_STYLE = -1
FAR = 1.5  # times the spread of the others
DODGE = 0.012  # of the width, from one line to the next


@dataclass(frozen=True)
class Series:
    """Points of one label. `style` is the cell's place in the study (colour, marker, dash), or
    NEUTRAL_STYLE; a `symbol` is the place of a marker of its own. `low` and `high` are the ends of
    intervals, empty where there are none."""

    label: str
    kind: Kind
    style: int
    x: tuple[float | str, ...]
    y: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    notes: tuple[str, ...] = ()
    is_faint: bool = False  # background: the runs that were not chosen
    is_pruned: bool = False  # its last point is where the run was stopped
    is_named: bool = True  # stands in the legend
    is_hollow: bool = False  # rests on one seed: the noise of training is not in its interval
    symbol: int | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)}
        lengths |= {len(part) for part in (self.low, self.high, self.notes) if part}
        if len(lengths) > 1:
            raise ValueError(f"series {self.label!r} has parts of different lengths: {lengths}")


@dataclass(frozen=True)
class Level:
    """A value of the vertical axis that is worth a line."""

    label: str
    value: float


@dataclass(frozen=True)
class Figure:
    """`name` is the stem of its files. `reference` is a value of the score axis worth a line.

    With `rows` (texts from top to bottom, `row_notes` under them) it is horizontal: `y` counts rows
    from 0. `x_range` is what such an axis shows; points outside of it are drawn at its edge as
    arrows. `beside` is a second panel over the same rows."""

    name: str
    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    caption: str = ""
    is_log_x: bool = False
    is_dodged: bool = False  # lines of one x are moved apart a little, so that none hides another
    reference: float | None = None
    reference_label: str = ""
    levels: tuple[Level, ...] = ()
    y_range: tuple[float, float] | None = None  # leaves out levels and base that lie far below
    rows: tuple[str, ...] = ()
    row_notes: tuple[str, ...] = ()
    x_range: tuple[float, float] | None = None
    beside: "Figure | None" = None

    @property
    def is_horizontal(self) -> bool:
        return bool(self.rows)

    @property
    def panels(self) -> "tuple[Figure, ...]":
        """Itself, and what stands beside it."""
        return (self,) if self.beside is None else (self, self.beside)

    def edge_of(self, x: float) -> int:
        """-1 or 1 for a point that lies left or right of what the axis shows, else 0."""
        if self.x_range is None:
            return 0
        return -1 if x < self.x_range[0] else 1 if x > self.x_range[1] else 0

    def place_of(self, x: float) -> float:
        """Where on the axis a point is drawn."""
        return x if self.x_range is None else min(max(x, self.x_range[0]), self.x_range[1])

    def moved(self, series: Series) -> tuple[float, ...]:
        """Where a line's points are drawn across: a little beside those of the other lines."""
        xs = tuple(float(x) for x in series.x)
        styles = sorted({s.style for s in self.series})
        every = [float(x) for s in self.series for x in s.x]
        if not self.is_dodged or len(styles) < 2 or min(every) == max(every):
            return xs
        step = DODGE * (styles.index(series.style) - (len(styles) - 1) / 2)
        if self.is_log_x:
            factor = (max(every) / min(every)) ** step
            return tuple(x * factor for x in xs)
        return tuple(x + step * (max(every) - min(every)) for x in xs)

    def to_csv(self) -> str:
        """Every drawn point: series, role, x, y, low, high, note."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["series", "role", self.x_title, self.y_title or "row", "low", "high", "note"]
        )
        for series in self.series:
            role: str = series.kind
            if series.is_pruned or series.is_faint:
                role = "pruned" if series.is_pruned else "other run"
            role += ", one seed" if series.is_hollow else ""
            for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                low, high, note = (
                    part[i] if part and part[i] is not None else ""
                    for part in (series.low, series.high, series.notes)
                )
                writer.writerow([series.label, role, x, y, low, high, note])
        return out.getvalue()


def range_without(values: Sequence[float], below: Sequence[float]) -> tuple[float, float] | None:
    """What a vertical axis shows where some values lie so far below the others that those would
    fall together; None where all of them fit."""
    spread = max(values) - min(values) if values else 0.0
    if not below or not spread or min(below) > min(values) - FAR * spread:
        return None
    return min(values) - 0.1 * spread, max(values) + 0.1 * spread
