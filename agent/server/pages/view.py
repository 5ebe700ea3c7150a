"""The first part of a table as the server draws it, so that a page shows its runs at once.

It follows the same choices (filter, order, columns) that the script then takes over from the
address, and it is all there is where no script runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.results.query.problems import QueryError
from agent.results.query.tokens import MOST_CHARACTERS
from agent.server.pages.filter import runs_of
from agent.server.pages.table import Column, Row, Scalar, columns_of

FIRST_ROWS = 100


@dataclass(frozen=True)
class Choice:
    """What a reader wants to see of a table."""

    text: str = ""
    sort: str = ""
    is_descending: bool = False
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Choice":
        named = query.get("columns", "")
        return cls(
            query.get("q", "")[:MOST_CHARACTERS],
            query.get("sort", "")[:200],
            query.get("order") == "desc",
            tuple(dict.fromkeys(filter(None, named.split(","))))[:100],
        )


@dataclass(frozen=True)
class Drawn:
    """A table ready for the template: texts, in the order of the columns."""

    columns: list[Column]
    lines: list[tuple[Row, list[str]]]
    count: int  # of the rows that pass the filter
    problem: QueryError | None = None  # of the filter, which then finds nothing
    notes: tuple[str, ...] = ()  # what no run can pass


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
    if choice.sort:
        passing = sort_rows(passing, choice.sort, choice.is_descending)
    lines = [
        (row, [text_of(column.key, row.values.get(column.key)) for column in shown])
        for row in passing[:FIRST_ROWS]
    ]
    return Drawn(shown, lines, len(passing), problem, notes)


def sort_rows(rows: Sequence[Row], key: str, is_descending: bool) -> list[Row]:
    """Numbers, then texts, each by its own order; rows without a value come last either way."""
    numbers = [row for row in rows if isinstance(row.values.get(key), int | float)]
    texts = [row for row in rows if isinstance(row.values.get(key), str)]
    others = [row for row in rows if row.values.get(key) is None]
    numbers.sort(key=lambda row: float(row.values[key] or 0), reverse=is_descending)
    texts.sort(key=lambda row: str(row.values[key]).lower(), reverse=is_descending)
    return [*numbers, *texts, *others]


def text_of(key: str, value: Scalar) -> str:
    """A value for people; a missing one stays blank."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if key == "created":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    return duration(value) if key == "duration_s" else number(value)


def number(value: float) -> str:
    """Four significant digits, without an exponent where people don't want one."""
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
