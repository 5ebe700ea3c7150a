"""How a paper's figures tell the variants apart: colour, marker and dash."""

from typing import Any

from agent.report.figures import NEUTRAL, NEUTRAL_STYLE, Series
from agent.results.presentation import LIGHT

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


def colour_of(series: Series) -> str:
    if series.style == NEUTRAL_STYLE:
        return NEUTRAL["light"]
    return LIGHT[series.style % len(LIGHT)]


def marker_of(series: Series) -> str:
    if series.symbol is not None:
        return MARKERS[(series.symbol) % len(MARKERS)]
    return "X" if series.style == NEUTRAL_STYLE else MARKERS[series.style % len(MARKERS)]
