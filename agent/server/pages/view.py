"""The first part of a table as the server draws it, so that a page shows its runs at once.

It follows the same choices (filter, order, columns) that the script then takes over from the
address, and it is all there is where no script runs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

from agent.results.query.problems import QueryError
from agent.results.query.tokens import MOST_CHARACTERS
from agent.server.pages.filter import runs_of
from agent.server.pages.table import Column, Row, Scalar, columns_of

FIRST_ROWS = 100
# What JSON cannot say as a number, as the store keeps it.
_NOT_FINITE = {"NaN": "NaN", "Infinity": "∞", "-Infinity": "−∞"}


@dataclass(frozen=True)
class Choice:
    """What a reader has asked to see of a table."""

    text: str = ""
    sort: str = ""
    order: str = ""  # asc or desc; else what suits the column: a score's best first
    was: str = ""  # how the table was sorted (`desc KEY`) when the head of a column was pressed
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Choice":
        named = [unquote(name) for name in query.get("columns", "").split(",")]
        return cls(
            query.get("q", "")[:MOST_CHARACTERS],
            query.get("sort", "")[:200],
            query.get("order", ""),
            query.get("was", "")[:210],
            tuple(dict.fromkeys(filter(None, named)))[:100],
        )

    def is_descending(self, columns: Sequence[Column]) -> bool:
        """Which way round the rows stand. Pressing the head that sorts turns them round."""
        order, _, sorted_by = self.was.partition(" ")
        if self.sort and self.sort == sorted_by:
            return order != "desc"
        if self.order in ("asc", "desc"):
            return self.order == "desc"
        found = next((column for column in columns if column.key == self.sort), None)
        return found is not None and found.is_best_high


@dataclass(frozen=True)
class Drawn:
    """A table ready for the template: texts, in the order of the columns."""

    columns: list[Column]
    lines: list[tuple[Row, list[str]]]
    count: int  # of the rows that pass the filter
    problem: QueryError | None = None  # of the filter, which then finds nothing
    notes: tuple[str, ...] = ()  # what no run can pass
    is_descending: bool = False


def draw(rows: Sequence[Row], choice: Choice) -> Drawn:
    """The first rows under a reader's choice."""
    every = columns_of(rows)
    chosen = set(choice.columns)
    shown = [c for c in every if (c.key in chosen if chosen else c.is_first) or c.key == "name"]
    problem: QueryError | None = None
    notes: tuple[str, ...] = ()
    passing = list(rows)
    if choice.text.strip():
        try:
            found = runs_of(rows).find(choice.text)
            passing, notes = [rows[place] for place in found.places], found.notes
        except QueryError as error:
            passing, problem = [], error
    is_descending = choice.is_descending(every)
    if choice.sort:
        passing = sort_rows(passing, choice.sort, is_descending)
    columns = [(column.key, column.digits) for column in shown]
    lines = [
        (row, [text_of(key, row.values.get(key), digits) for key, digits in columns])
        for row in passing[:FIRST_ROWS]
    ]
    return Drawn(shown, lines, len(passing), problem, notes, is_descending)


def sort_rows(rows: Sequence[Row], key: str, is_descending: bool) -> list[Row]:
    """Numbers, then texts, each by its own order; rows without a value come last either way."""
    numbers = [row for row in rows if isinstance(row.values.get(key), int | float)]
    texts = [row for row in rows if isinstance(row.values.get(key), str)]
    others = [row for row in rows if row.values.get(key) is None]
    numbers.sort(key=lambda row: float(row.values[key] or 0), reverse=is_descending)
    texts.sort(key=lambda row: str(row.values[key]).lower(), reverse=is_descending)
    return [*numbers, *texts, *others]


def text_of(key: str, value: Scalar, digits: int | None = None) -> str:
    """A value for people; a missing one stays blank. `digits`: decimals of its whole column."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if key == "created":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    if key == "duration_s":
        return duration(value)
    if digits is not None and math.isfinite(value):
        return f"{value:.{digits}f}"
    return number(value)


def number(value: float) -> str:
    """Four significant digits, with an exponent only where the number would be too long."""
    size = abs(value)
    if size < 1e15 and value == int(value):
        return str(int(value))
    if 1000 <= size < 1e15:
        return f"{value:.0f}"
    if 1e-4 <= size < 1e15:
        return f"{float(f'{value:.4g}'):.8f}".rstrip("0").rstrip(".")
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def duration(seconds: float) -> str:
    """`52 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size_text(size_bytes: float) -> str:
    """`814 B`, `3.5 KB`, `1.2 GB`."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
