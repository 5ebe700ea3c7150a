"""Runs that grow out of an earlier moment of another run: where they branch off, what they inherit.

A fork begins with its parent's history up to the fork point. Those lines are kept under negative
numbers, because the client counts its own from 0.
"""

import json
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.database import Connection
from agent.server.store.records import Run
from agent.server.store.runs import find_run
from agent.server.store.streams import HISTORY, MAX_STEP


def branch_point(config: str) -> tuple[str, int] | None:
    """(run id, step) that the client's part of a config names, None if it names none."""
    own = json.loads(config).get("_wandb")
    values = own.get("value") if isinstance(own, dict) else None
    point = values.get("branch_point") if isinstance(values, dict) else None
    if not isinstance(point, dict) or not isinstance(point.get("run_id"), str):
        return None
    return point["run_id"], branch_step(point.get("step"))


def branch_step(value: Any) -> int:
    """The step that a run branches off at. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_STEP:
        raise Refused(f"a run branches off at a step, got {json.dumps(value)[:40]}")
    return int(value)


def inherit_history(connection: Connection, run: Run) -> None:
    """Give a new run the history of the run that it forks from. Raises Refused."""
    point = branch_point(run.config)
    if point is None or point[0] == run.name:
        return
    parent = find_run(connection, run.project_id, point[0])
    if parent is None:
        raise Refused(f"fork_from: run {point[0]!r} does not exist in this project")
    taken = "run_id = ? AND stream = ? AND step <= ?"
    values = (parent.id, HISTORY, point[1])
    after_last = connection.execute(
        f"SELECT ifnull(max(number) + 1, 0) FROM stream_line WHERE {taken}", values
    ).fetchone()[0]
    connection.execute(
        "INSERT INTO stream_line (run_id, stream, number, step, content) "
        f"SELECT ?, stream, number - ?, step, content FROM stream_line WHERE {taken}",
        (run.id, after_last, *values),
    )
