"""The line streams of a run: history, system events and console output.

Lines are addressed by number, so a part that is sent twice changes nothing.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from agent.server.store.database import Connection
from agent.server.store.records import Run
from agent.server.store.sampling import finite_tree, read_row, spread

HISTORY, EVENTS, OUTPUT = "history", "events", "output"
_FILES = {
    "wandb-history.jsonl": HISTORY,
    "wandb-events.jsonl": EVENTS,
    "output.log": OUTPUT,
    "logs/output.log": OUTPUT,
}
_COUNTERS = {HISTORY: "history_lines", EVENTS: "event_lines", OUTPUT: "log_lines"}
SUMMARY_FILE = "wandb-summary.json"
MAX_ROWS = 200_000
MAX_STEP = 2**53


def stream_of(file_name: str) -> str | None:
    """Which stream a file of the file-stream protocol is."""
    return _FILES.get(file_name)


def clear_streams(connection: Connection, run: Run) -> None:
    """Forget what the run has logged, because it starts anew."""
    connection.execute("DELETE FROM stream_line WHERE run_id = ?", (run.id,))
    connection.execute(
        "UPDATE run SET history_lines = 0, event_lines = 0, log_lines = 0, summary = '{}', "
        "revision = revision + 1 "
        "WHERE id = ?",
        (run.id,),
    )


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that follow each other, with the steps that those of a history have."""

    stream: str
    offset: int
    content: list[str]
    steps: list[int | None]

    def split(self, count: int, size: int) -> Iterator["Lines"]:
        """In pieces of at most `count` lines and about `size` characters."""
        first = length = 0
        for place, line in enumerate(self.content):
            if place > first and (place - first >= count or length + len(line) > size):
                yield self._piece(first, place)
                first, length = place, 0
            length += len(line)
        yield self._piece(first, len(self.content))

    def _piece(self, first: int, end: int) -> "Lines":
        content, steps = self.content[first:end], self.steps[first:end]
        return Lines(self.stream, self.offset + first, content, steps)


def read_lines(stream: str, offset: int, content: list[str]) -> Lines:
    """Lines ready to be written: reading their steps takes longer than writing them."""
    steps = [_step_of(line) if stream == HISTORY else None for line in content]
    return Lines(stream, offset, content, steps)


def write_lines(connection: Connection, run_id: int, lines: Lines) -> None:
    """Put lines at their place; a repeated part changes nothing."""
    rows = [
        (run_id, lines.stream, lines.offset + i, step, line)
        for i, (line, step) in enumerate(zip(lines.content, lines.steps, strict=True))
    ]
    connection.executemany("INSERT OR REPLACE INTO stream_line VALUES (?, ?, ?, ?, ?)", rows)
    counter = _COUNTERS[lines.stream]
    connection.execute(
        f"UPDATE run SET {counter} = max({counter}, ?), revision = revision + 1 WHERE id = ?",
        (lines.offset + len(rows), run_id),
    )


def drop_lines(connection: Connection, limit: int) -> bool:
    """Remove some lines of runs that were deleted; whether there may be more.

    Until then they belong to no run, because ids of runs are never used again.
    """
    gone = connection.execute("SELECT run_id FROM gone_run LIMIT 1").fetchone()
    if gone is None:
        return False
    dropped = connection.execute(
        "DELETE FROM stream_line WHERE (run_id, stream, number) IN "
        "(SELECT run_id, stream, number FROM stream_line WHERE run_id = ? LIMIT ?)",
        (gone[0], limit),
    ).rowcount
    if dropped < limit:
        connection.execute("DELETE FROM gone_run WHERE run_id = ?", (gone[0],))
    return True


def line_count(connection: Connection, run_id: int, stream: str) -> int:
    """How many lines the run's own counter has come to."""
    row = connection.execute(
        f"SELECT {_COUNTERS[stream]} FROM run WHERE id = ?", (run_id,)
    ).fetchone()
    return int(row[0])


def _step_of(line: str) -> int | None:
    """The row's step. None if it has none or is not a row: it is kept, and readers pass it over."""
    row = read_row(line)
    step = row.get("_step") if row else None
    is_step = isinstance(step, int | float) and abs(step) < MAX_STEP
    return int(step) if step is not None and is_step else None


def tail(connection: Connection, run_id: int, stream: str) -> list[str]:
    """The last line, as a list of none or one."""
    row = connection.execute(
        "SELECT content FROM stream_line WHERE run_id = ? AND stream = ? "
        "ORDER BY number DESC LIMIT 1",
        (run_id, stream),
    ).fetchone()
    return [row[0]] if row else []


def lines_between(
    connection: Connection,
    run_id: int,
    stream: str,
    *,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    """Lines in order; with bounds, those with min_step <= _step < max_step."""
    if min_step is None and max_step is None:
        rows = connection.execute(
            "SELECT content FROM stream_line WHERE run_id = ? AND stream = ? "
            "ORDER BY number LIMIT ?",
            (run_id, stream, MAX_ROWS),
        )
    else:
        rows = connection.execute(
            "SELECT content FROM stream_line WHERE run_id = ? AND stream = ? "
            "AND step >= ? AND step < ? ORDER BY step, number LIMIT ?",
            (run_id, stream, min_step or 0, 2**62 if max_step is None else max_step, MAX_ROWS),
        )
    return [row[0] for row in rows]


def sampled_lines(
    connection: Connection, run_id: int, stream: str, samples: int | None
) -> list[str]:
    """At most `samples` lines, evenly spaced, with the first and the last; all if None."""
    first, last, count = connection.execute(
        "SELECT min(number), max(number), count(*) FROM stream_line "
        "WHERE run_id = ? AND stream = ?",
        (run_id, stream),
    ).fetchone()
    if samples is None or count <= samples or count != last - first + 1:
        return spread(lines_between(connection, run_id, stream), samples)
    rows = connection.execute(
        "SELECT content FROM stream_line WHERE run_id = ? AND stream = ? "
        "AND number IN (SELECT value FROM json_each(?)) ORDER BY number",
        (run_id, stream, json.dumps(spread(range(first, last + 1), samples))),
    )
    return [row[0] for row in rows]


def last_step(connection: Connection, run_id: int) -> int:
    """The highest step of the history; -1 if there is none."""
    row = connection.execute(
        "SELECT max(step) FROM stream_line WHERE run_id = ? AND stream = ?", (run_id, HISTORY)
    ).fetchone()
    return -1 if row[0] is None else int(row[0])


def numbered_lines(
    connection: Connection, run_id: int, stream: str, first: int, limit: int
) -> list[tuple[int, str]]:
    """Lines from number `first` on, with their numbers (the console may have gaps)."""
    rows = connection.execute(
        "SELECT number, content FROM stream_line WHERE run_id = ? AND stream = ? AND number >= ? "
        "ORDER BY number LIMIT ?",
        (run_id, stream, first, limit),
    )
    return [(row[0], row[1]) for row in rows]


class KeyCatalogue:
    """What metrics a run has logged (`historyKeys`), remembered per revision of the run."""

    def __init__(self, size: int = 500) -> None:
        self._known: OrderedDict[int, tuple[int, dict[str, Any]]] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def keys_of(self, connection: Connection, run: Run) -> dict[str, Any]:
        with self._lock:
            remembered = self._known.get(run.id)
        if remembered and remembered[0] == run.revision:
            return remembered[1]
        keys = describe_keys(lines_between(connection, run.id, HISTORY))
        keys["lastStep"] = last_step(connection, run.id)  # also beyond the lines described
        with self._lock:
            self._known[run.id] = (run.revision, keys)
            self._known.move_to_end(run.id)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return keys


def describe_keys(lines: list[str]) -> dict[str, Any]:
    """The client's `historyKeys`: per key how often, of which type, and its last value."""
    counts: dict[str, dict[str, int]] = {}
    last: dict[str, Any] = {}
    for line in lines:
        row = read_row(line)
        if row is None:
            continue
        for key, value in _flat(row):
            kind = _type_name(value)
            per_key = counts.setdefault(key, {})
            per_key[kind] = per_key.get(kind, 0) + 1
            last[key] = finite_tree(value)
    keys = {
        key: {
            "typeCounts": [{"type": kind, "count": n} for kind, n in per_key.items()],
            "monotonic": False,
            "previousValue": last[key],
        }
        for key, per_key in counts.items()
    }
    return {"sets": [], "keys": keys}


def _flat(row: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested values under dotted keys; media objects (with a `_type`) stay whole."""
    pairs: list[tuple[str, Any]] = []
    for key, value in row.items():
        if isinstance(value, dict) and value and "_type" not in value:
            pairs.extend(_flat(value, f"{prefix}{key}."))
        else:
            pairs.append((prefix + key, value))
    return pairs


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return str(value.get("_type", "object"))
    return "list" if isinstance(value, list) else "nil"
