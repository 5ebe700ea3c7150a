"""`--where`: the runs of a command that a query finds, or one line that says why there are none."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.errors import ReportError
from agent.results.query.problems import QueryError
from agent.results.query.records import Record
from agent.results.query.search import find

T = TypeVar("T")

HELP = "only runs that a query finds: 'variant:\"QLoRA int4\" learning_rate>=1e-4 -state:pruned'"


def add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--where", default="", metavar="QUERY", help=HELP)


def pick(
    items: Sequence[T], query: str, record: Callable[[T], Record], *, may_be_none: bool = False
) -> tuple[T, ...]:
    """The items that pass, in their order. ReportError for a query that is wrong, and for one that
    finds none of some items unless there `may_be_none`."""
    if not query.strip():
        return tuple(items)
    try:
        found = find(query, [record(item) for item in items])
    except QueryError as error:
        raise ReportError(f"--where {query!r}: {error}") from None
    if items and not found.places and not may_be_none:
        why = f": {'; '.join(found.notes)}" if found.notes else ""
        raise ReportError(f"--where {query!r} finds none of the {len(items)} runs{why}")
    return tuple(items[place] for place in found.places)
