"""Runs in W&B's shared mode: several processes write to one run, each counting its own lines.

The server gives every line its place in the run, and history rows their step. Which place a
writer's line got is remembered, so that a part that arrives twice changes nothing here either.
"""

import json

from agent.server.store.database import Connection
from agent.server.store.records import Run
from agent.server.store.sampling import read_row
from agent.server.store.streams import HISTORY, Lines, line_count, read_lines, write_lines

MAX_WRITER = 64


def write_shared_lines(connection: Connection, run: Run, lines: Lines, writer: str) -> None:
    """Append one writer's lines to the run's; those that are there already keep their place."""
    stream, offset = lines.stream, lines.offset
    rows = connection.execute(
        "SELECT writer_offset, number FROM shared_line "
        "WHERE run_id = ? AND stream = ? AND writer = ? AND writer_offset BETWEEN ? AND ?",
        (run.id, stream, writer, offset, offset + len(lines.content)),
    )
    known = {row[0]: row[1] for row in rows}
    following = line_count(connection, run.id, stream)
    for place, line in enumerate(lines.content, start=offset):
        number = known.get(place)
        if number is None:
            number, following = following, following + 1
            connection.execute(
                "INSERT INTO shared_line VALUES (?, ?, ?, ?, ?)",
                (run.id, stream, writer, place, number),
            )
        placed = read_lines(stream, number, [_with_step(line, stream, number)])
        write_lines(connection, run.id, placed)


def _with_step(line: str, stream: str, number: int) -> str:
    row = read_row(line) if stream == HISTORY else None
    return line if row is None else json.dumps({**row, "_step": number})


def merge_summaries(old: str, new: str) -> str:
    """Each writer knows only what it has logged itself."""
    return json.dumps({**json.loads(old), **json.loads(new)}, separators=(",", ":"))
