"""Runs as the real client leaves them, written straight into a server's database."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.server.store.database import Connection, insert


def add_run(
    connection: Connection,
    project_id: int,
    name: str,
    config: Mapping[str, Any],
    summary: str,
    lines: Sequence[str] = (),
    *,
    created_at: float = 1e9,
    seconds: float | None = 60.0,
    **more: Any,
) -> int:
    """The id of a run with these lines of history, which ended after `seconds` (None: it lives)."""
    values = {"state": "finished" if seconds is not None else "running", "display_name": name}
    run_id = insert(
        connection,
        "run",
        project_id=project_id,
        name=name,
        config=json.dumps({key: {"value": value} for key, value in config.items()}),
        summary=summary,
        history_lines=len(lines),
        revision=1,
        created_at=created_at,
        updated_at=created_at,
        heartbeat_at=4e9,
        finished_at=None if seconds is None else created_at + seconds,
        **{**values, **more},
    )
    connection.executemany(
        "INSERT INTO stream_line VALUES (?, 'history', ?, ?, ?)",
        [(run_id, i, i, line) for i, line in enumerate(lines)],
    )
    return run_id
