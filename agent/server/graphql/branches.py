"""Runs that grow out of an earlier moment: forked from another run, or wound back to a step.

A fork begins with its parent's history up to the fork point. Those lines are kept under negative
numbers, because the client counts its own from 0. What a rewound run had logged after the step is
put aside under another stream name: no reader shows it, nothing is thrown away.
"""

import json
from typing import Any

from agent.server.graphql.access import need_run
from agent.server.graphql.execution import Request, change
from agent.server.refusals import Refused
from agent.server.store.branches import branch_step
from agent.server.store.database import update
from agent.server.store.runs import change_run
from agent.server.store.sampling import finite_tree, read_row
from agent.server.store.streams import EVENTS, HISTORY, OUTPUT, lines_between


@change("rewindRun")
def rewind_run(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    """Wind a run back to just after a step; the client then logs on from there."""
    connection = request.connection
    run = need_run(
        request,
        entity=input.get("entityName"),
        project=input.get("projectName"),
        name=input["runName"],
    )
    if input["metricName"] != "_step":
        raise Refused(f"rewindRun: runs are wound back by _step, not by {input['metricName']!r}")
    step = branch_step(input["metricValue"])
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
        connection,
        run,
        request.now,
        history_lines=max(count, 0),
        event_lines=0,
        log_lines=0,
        summary=_summary_of(kept),
        state="running",
        exit_code=None,
        finished_at=None,
        stop_requested=None,
        preempting=0,
    )
    return {"rewoundRun": rewound}


def _summary_of(lines: list[str]) -> str:
    """The last value of each metric, which is what the client's summary begins as."""
    summary: dict[str, Any] = {}
    for line in lines:
        summary |= read_row(line) or {}
    return json.dumps(finite_tree(summary), separators=(",", ":"))
