"""The file stream: history, summary, events and console output of a run, sent in parts.

Every part says at which line it begins, so a part that arrives twice changes nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.claims import Policy, settle, silent_state
from agent.server.store.database import Connection, update
from agent.server.store.records import Run
from agent.server.store.runs import bounded_summary, end_run, get_run, normalise_object
from agent.server.store.shared_mode import merge_summaries, write_shared_lines
from agent.server.store.streams import (
    EVENTS,
    SUMMARY_FILE,
    Lines,
    read_lines,
    stream_of,
    write_lines,
)

MAX_OFFSET = 10**9
SLICE_LINES = 1000
SLICE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """What a part says, read before anything is locked for it."""

    lines: tuple[Lines, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)  # of the run's row
    is_preempting: bool = False
    is_complete: bool = False
    exit_code: Any = None


def read_part(body: dict[str, Any]) -> Part:
    """Read and check one part. Raises Refused for a malformed one."""
    lines: list[Lines] = []
    columns: dict[str, Any] = {}
    for name, chunk in _files(body).items():
        offset, content = _content_of(name, chunk)
        stream = stream_of(name)
        if not content:
            continue
        if name == SUMMARY_FILE:
            columns["summary"] = bounded_summary(content[-1])
        elif stream is not None:  # any other file is uploaded as a file, not as a stream
            lines.append(read_lines(stream, offset, content))
            if stream == EVENTS:
                columns["system_metrics"] = _last_event(content)
    return Part(
        tuple(lines),
        columns,
        bool(body.get("preempting")),
        bool(body.get("complete")),
        body.get("exitcode"),
    )


def slices_of(part: Part) -> Iterator[Part]:
    """A large part as several, each short to write; the last one says what the whole part says.

    Lines are addressed by number, so what a broken-off part has left is sent again and stays.
    """
    pieces = [piece for lines in part.lines for piece in lines.split(SLICE_LINES, SLICE_BYTES)]
    if len(pieces) <= len(part.lines):
        yield part
        return
    for piece in pieces[:-1]:
        yield Part((piece,))
    yield Part((pieces[-1],), part.columns, part.is_preempting, part.is_complete, part.exit_code)


def receive_part(
    connection: Connection,
    run: Run,
    part: Part,
    now: float,
    policy: Policy,
    writer: str = "",
) -> dict[str, Any]:
    """Store one part and answer it.

    `writer` names the process where several share the run (W&B's shared mode).
    """
    changes: dict[str, Any] = {"heartbeat_at": now, "updated_at": now, **part.columns}
    for lines in part.lines:
        if writer:
            write_shared_lines(connection, run, lines, writer)
        else:
            write_lines(connection, run.id, lines)
    if writer and "summary" in changes:
        changes["summary"] = merge_summaries(run.summary, changes["summary"])
    if part.is_preempting:
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
    if part.is_complete:
        _complete(connection, run.id, part.exit_code, now, policy)
        return {}
    return {"stopped": True} if _must_stop_here(connection, run, now) else {}


def _files(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    files = part.get("files")
    if files is None:
        return {}
    if not isinstance(files, dict):
        raise Refused("file stream: files is not an object", status=400)
    return files


def _content_of(name: str, chunk: Any) -> tuple[int, list[str]]:
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
    return offset, content


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
    """Whether the answer must ask the run itself to stop, because no live agent will signal it."""
    if run.stop_requested is None:
        return False
    row = connection.execute(
        "SELECT heartbeat_at FROM agent WHERE id = ?", (run.agent_id,)
    ).fetchone()
    return row is None or now - row[0] > 60
