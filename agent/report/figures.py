"""What a figure shows, apart from how it is drawn.

One `Figure` is drawn twice (matplotlib for papers, Plotly for the page) and written as CSV, so
that the three never disagree.
"""

import csv
import io
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "points", "bars", "front"]

NEUTRAL = {"light": "#767676", "dark": "#9A9A9A"}
NEUTRAL_STYLE = -1


@dataclass(frozen=True)
class Series:
    """Points of one label. `style` is the cell's place in the study (colour, marker, dash), or
    NEUTRAL_STYLE. `low` and `high` are the ends of intervals, empty where there are none."""

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

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)}
        lengths |= {len(part) for part in (self.low, self.high, self.notes) if part}
        if len(lengths) > 1:
            raise ValueError(f"series {self.label!r} has parts of different lengths: {lengths}")


@dataclass(frozen=True)
class Figure:
    """`name` is the stem of its files. `reference` is a value of the score axis worth a line."""

    name: str
    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    caption: str = ""
    is_log_x: bool = False
    reference: float | None = None

    @property
    def is_horizontal(self) -> bool:
        """Bars lie, so that long names stay readable: labels on y, values on x."""
        return any(series.kind == "bars" for series in self.series)

    def to_csv(self) -> str:
        """Every drawn point: series, role, x, y, low, high, note."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["series", "role", self.x_title, self.y_title, "low", "high", "note"])
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
