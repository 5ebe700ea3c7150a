"""Runs that grow out of an earlier moment: forked from another run, or wound back to a step.

A fork begins with its parent's history up to the fork point. Those lines are kept under negative
numbers, because the client counts its own from 0. What a rewound run had logged after the step is
put aside under another stream name: no reader shows it, nothing is thrown away.
"""

import json
from typing import Any

from agent.server.graphql.access import need_run
from agent.server.graphql.execution import Info, Request, field
from agent.server.refusals import Refused
from agent.server.store.database import Connection, update
from agent.server.store.records import Run
from agent.server.store.runs import change_run, find_run
from agent.server.store.sampling import finite_tree, read_row
from agent.server.store.streams import EVENTS, HISTORY, MAX_STEP, OUTPUT, lines_between


def branch_point(config: str) -> tuple[str, int] | None:
    """(run id, step) that the client's part of a config names, None if it names none."""
    own = json.loads(config).get("_wandb")
    values = own.get("value") if isinstance(own, dict) else None
    point = values.get("branch_point") if isinstance(values, dict) else None
    if not isinstance(point, dict) or not isinstance(point.get("run_id"), str):
        return None
    return point["run_id"], _step(point.get("step"))


def _step(value: Any) -> int:
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


@field("Mutation", "rewindRun")
def rewind_run(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Wind a run back to just after a step; the client then logs on from there."""
    request: Request = info.context
    connection = request.connection
    run = need_run(
        request, entity=input.get("entityName"), project=input.get("projectName"),
        name=input["runName"],
    )  # fmt: skip
    if input["metricName"] != "_step":
        raise Refused(f"rewindRun: runs are wound back by _step, not by {input['metricName']!r}")
    step = _step(input["metricValue"])
    aside = f"rewound-{run.revision}-"
    connection.execute(
        "UPDATE stream_line SET stream = ? || stream WHERE run_id = ? AND "
        "(stream IN (?, ?) OR (stream = ? AND (step IS NULL OR step > ?)))",
        (aside, run.id, EVENTS, OUTPUT, HISTORY, step),
    )
    kept = lines_between(connection, run.id, HISTORY)
    count = connection.execute(
        "SELECT ifnull(max(number) + 1, 0) FROM stream_line WHERE run_id = ? AND stream = ?",
        (run.id, HISTORY),
    ).fetchone()[0]
    update(connection, "run", run.id, revision=run.revision + 1)
    rewound = change_run(
        connection, run, request.now, history_lines=max(count, 0), event_lines=0, log_lines=0,
        summary=_summary_of(kept), state="running", exit_code=None, finished_at=None,
        stop_requested=None, preempting=0,
    )  # fmt: skip
    return {"rewoundRun": rewound}


def _summary_of(lines: list[str]) -> str:
    """The last value of each metric, which is what the client's summary begins as."""
    summary: dict[str, Any] = {}
    for line in lines:
        summary |= read_row(line) or {}
    return json.dumps(finite_tree(summary), separators=(",", ":"))
