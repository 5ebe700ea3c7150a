"""Reading runs: their fields, history, console, files."""

import json
from typing import Any

from agent.server.graphql.access import page_bounds, page_of_runs
from agent.server.graphql.execution import Info, Request, columns, constants, field
from agent.server.refusals import Refused
from agent.server.store.large_json import loads
from agent.server.store.records import Agent, Project, Run, Sweep
from agent.server.store.runs import count_runs, find_run, of_project
from agent.server.store.sampling import SampleSpec, read_row, select_rows, spread
from agent.server.store.streams import (
    EVENTS,
    HISTORY,
    MAX_ROWS,
    OUTPUT,
    lines_between,
    numbered_lines,
    sampled_lines,
    tail,
)
from agent.server.store.sweeps import get_agent, get_sweep


@field("Project", "runCount")
def run_count(source: Project, info: Info, filters: str | None = None) -> int:
    return count_runs(info.context.connection, of_project(source.id), filters)


@field("Project", "runs")
def runs(source: Project, info: Info, **arguments: Any) -> dict[str, Any]:
    request: Request = info.context
    return page_of_runs(request, of_project(source.id), arguments, spend=request.budget.spend)


@field("Project", "run")
@field("Project", "bucket")
def run(source: Project, info: Info, name: str, **_: Any) -> Run | None:
    return find_run(info.context.connection, source.id, name)


columns("Run", group="group_name", groupName="group_name", commit="commit_hash")
columns("Run", exitcode="exit_code", stoppedAt="finished_at", logLineCount="log_lines")
columns("Run", historyLineCount="history_lines", eventsLineCount="event_lines")
constants("Run", readOnly=False)
# Nothing is exported to Parquet: the client then asks for the live rows.
constants("Run", parquetHistory={"parquetUrls": (), "liveData": ()})


@field("Run", "tags")
def run_tags(source: Run, _: Info) -> list[str]:
    return source.tag_list()


@field("Run", "sweep")
def run_sweep(source: Run, info: Info) -> Sweep | None:
    return get_sweep(info.context.connection, source.sweep_id)


@field("Run", "sweepName")
def run_sweep_name(source: Run, info: Info) -> str | None:
    found = get_sweep(info.context.connection, source.sweep_id)
    return found.name if found else None


@field("Run", "agent")
def run_agent(source: Run, info: Info) -> Agent | None:
    return get_agent(info.context.connection, source.agent_id)


@field("Run", "shouldStop")
@field("Run", "stopped")
def run_stopped(source: Run, _: Info) -> bool:
    return source.stop_requested is not None


@field("Run", "failed")
def run_failed(source: Run, _: Info) -> bool:
    return source.state in ("failed", "crashed")


@field("Run", "running")
def run_running(source: Run, _: Info) -> bool:
    return source.state == "running"


@field("Run", "wandbConfig")
def wandb_config(source: Run, _: Info, keys: list[str] | None = None) -> str | None:
    """The client's own part of the config; a run that never started has none."""
    own = json.loads(source.config).get("_wandb")
    if own is None or not source.initialised:
        return None
    values = own.get("value", {}) if isinstance(own, dict) else {}
    return json.dumps({k: v for k, v in values.items() if keys is None or k in keys})


@field("Run", "summaryMetrics")
def summary_metrics(source: Run, info: Info, keys: list[str] | None = None) -> str:
    info.context.budget.spend(size=len(source.summary))
    if not keys:
        return source.summary
    return json.dumps({k: v for k, v in loads(source.summary).items() if k in keys})


@field("Run", "historyKeys")
def history_keys(source: Run, info: Info) -> dict[str, Any] | None:
    info.context.budget.spend(rows=min(source.history_lines, MAX_ROWS))
    keys = info.context.services.catalogue.keys_of(info.context.connection, source)
    return keys if keys["keys"] else None


@field("Run", "historyTail")
def history_tail(source: Run, info: Info) -> str:
    return json.dumps(tail(info.context.connection, source.id, HISTORY))


@field("Run", "eventsTail")
def events_tail(source: Run, info: Info) -> str:
    return json.dumps(tail(info.context.connection, source.id, EVENTS))


@field("Run", "history")
def history(source: Run, info: Info, **arguments: Any) -> list[str]:
    connection, samples = info.context.connection, arguments.get("samples")
    min_step, max_step = arguments.get("minStep"), arguments.get("maxStep")
    if min_step is None and max_step is None:
        return _paid(info, sampled_lines(connection, source.id, HISTORY, samples))
    lines = lines_between(connection, source.id, HISTORY, min_step=min_step, max_step=max_step)
    # A page between two steps is complete; without an end, `samples` asks for a sample.
    return _paid(info, lines if max_step is not None else spread(lines, samples))


def _paid(info: Info, lines: list[str]) -> list[str]:
    """The lines, once the request's budget has been charged for them."""
    info.context.budget.spend(rows=len(lines), size=sum(map(len, lines)))
    return lines


@field("Run", "events")
def events(source: Run, info: Info, samples: int | None = None) -> list[str]:
    return _paid(info, sampled_lines(info.context.connection, source.id, EVENTS, samples))


@field("Run", "sampledHistory")
def sampled_history(source: Run, info: Info, specs: list[str]) -> list[Any]:
    try:
        wanted = [SampleSpec.of(text) for text in specs]
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Refused("sampledHistory: a spec is not a JSON object of keys and samples") from None
    if not wanted:
        return []
    lines = _paid(info, lines_between(info.context.connection, source.id, HISTORY))
    rows = [row for row in map(read_row, lines) if row is not None]
    sampled = []
    for spec in wanted:
        info.context.budget.spend(rows=len(rows))
        sampled.append(select_rows(rows, spec))
    return sampled


@field("Run", "logLines")
def log_lines(source: Run, info: Info, **arguments: Any) -> dict[str, Any]:
    request: Request = info.context
    last = arguments.get("last")
    offset, limit = page_bounds(arguments, 1000)
    if last is not None:
        limit = max(0, min(int(last), 10_000))
        offset = max(0, source.log_lines - limit)
    rows = numbered_lines(request.connection, source.id, OUTPUT, offset, limit)
    nodes = [{"number": number, **_log_parts(line)} for number, line in rows]
    edges = [{"node": node, "cursor": str(node["number"] + 1)} for node in nodes]
    end = rows[-1][0] + 1 if rows else offset
    info_part = {"endCursor": str(end), "hasNextPage": end < source.log_lines and bool(rows)}
    return {"edges": edges, "pageInfo": info_part}


def _log_parts(line: str) -> dict[str, Any]:
    """A console line as the client sends it: 'ERROR 2024-01-01T00:00:00.000000 text'."""
    level, rest = ("error", line[6:]) if line.startswith("ERROR ") else ("info", line)
    stamp, _, text = rest.partition(" ")
    if len(stamp) >= 19 and stamp[4:5] == "-" and stamp[10:11] == "T":
        return {"level": level, "timestamp": stamp, "line": text.rstrip("\n")}
    return {"level": level, "timestamp": None, "line": rest.rstrip("\n")}
