"""A record with its place, and faults of several records listed together."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import DataError

MOST_FAULTS = 20  # listed together


@dataclass(frozen=True)
class Row:
    """A record and its place: file and line, with the record's number where lines do not tell."""

    where: str
    record: object
    number: int | None = None


Rows = Iterator[Row | DataError]


def raise_faults(faults: list[DataError], source: str) -> None:
    """DataError with the first twenty faults, or with the only one; nothing when there is none."""
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    listed = [f"  - {fault}" for fault in faults[:MOST_FAULTS]]
    more = f", the first {MOST_FAULTS}" if len(faults) > MOST_FAULTS else ""
    raise DataError("\n".join([f"{source}: {len(faults)} faults{more}:", *listed]))
