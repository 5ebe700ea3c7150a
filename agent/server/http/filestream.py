"""The file stream: history, summary, events and console output of a run, sent in parts.

Every part says at which line it begins, so a part that arrives twice changes nothing.
"""

import json
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.claims import Policy, settle, silent_state
from agent.server.store.database import Connection, update
from agent.server.store.records import Run
from agent.server.store.runs import end_run, get_run, normalise_object
from agent.server.store.shared_mode import merge_summaries, write_shared_lines
from agent.server.store.streams import EVENTS, SUMMARY_FILE, stream_of, write_lines

MAX_OFFSET = 10**9


def receive_part(
    connection: Connection,
    run: Run,
    part: dict[str, Any],
    now: float,
    policy: Policy,
    writer: str = "",
) -> dict[str, Any]:
    """Store one part and answer it. Raises Refused for a malformed one.

    `writer` names the process where several share the run (W&B's shared mode).
    """
    changes: dict[str, Any] = {"heartbeat_at": now, "updated_at": now}
    for name, chunk in _files(part).items():
        changes |= _receive_file(connection, run, name, chunk, writer)
    if part.get("preempting"):
        changes["preempting"] = 1
    if run.state == "pending" or (run.state == "crashed" and run.exit_code is None):
        changes |= {"state": "running", "finished_at": None}  # it was silent, but it lives
    update(connection, "run", run.id, **changes)
    if run.sweep_id is not None:
        connection.execute(
            "UPDATE point SET lease_until = ? "
            "WHERE sweep_id = ? AND run_name = ? AND status = 'claimed'",
            (now + policy.lease_s, run.sweep_id, run.name),
        )
    if part.get("complete"):
        _complete(connection, run.id, part.get("exitcode"), now, policy)
        return {}
    return {"stopped": True} if _must_stop_here(connection, run, now) else {}


def _files(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    files = part.get("files")
    if files is None:
        return {}
    if not isinstance(files, dict):
        raise Refused("file stream: files is not an object", status=400)
    return files


def _receive_file(
    connection: Connection, run: Run, name: str, chunk: Any, writer: str
) -> dict[str, Any]:
    """Store one file's lines; what it changes in the run's row is returned."""
    offset, content = (
        (chunk.get("offset"), chunk.get("content")) if isinstance(chunk, dict) else (None, None)
    )
    is_offset = isinstance(offset, int) and 0 <= offset <= MAX_OFFSET
    if (
        not is_offset
        or not isinstance(content, list)
        or not all(isinstance(line, str) for line in content)
    ):
        raise Refused(f"file stream: {name!r} needs an offset and a list of lines", status=400)
    assert isinstance(offset, int)
    if not content:
        return {}
    if name == SUMMARY_FILE:
        summary = normalise_object(content[-1], "summary")
        return {"summary": merge_summaries(run.summary, summary) if writer else summary}
    stream = stream_of(name)
    if stream is None:
        return {}  # a file of its own is uploaded as a file, not as a stream
    if writer:
        write_shared_lines(connection, run, stream, writer, offset, content)
    else:
        write_lines(connection, run.id, stream, offset, content)
    return {"system_metrics": _last_event(content)} if stream == EVENTS else {}


def _last_event(lines: list[str]) -> str:
    try:
        return normalise_object(lines[-1], "events")
    except Refused:
        return json.dumps({})


def _complete(
    connection: Connection, run_id: int, exit_code: Any, now: float, policy: Policy
) -> None:
    """The run's process has ended and said how."""
    run = get_run(connection, run_id)
    assert run is not None
    code = max(-(2**31), min(exit_code, 2**31 - 1)) if isinstance(exit_code, int) else 0
    if run.is_over and run.exit_code == code:
        return
    if code == 0:
        state = "finished"
    else:
        state = silent_state(run) if run.stop_requested or run.preempting else "failed"
    settle(connection, end_run(connection, run, state, now, code), now, policy)


def _must_stop_here(connection: Connection, run: Run, now: float) -> bool:
    """Whether the run itself must be told to stop, because no live agent will signal it."""
    if run.stop_requested is None:
        return False
    row = connection.execute(
        "SELECT heartbeat_at FROM agent WHERE id = ?", (run.agent_id,)
    ).fetchone()
    return row is None or now - row[0] > 60
