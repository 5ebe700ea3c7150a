"""Sweeps and agents: read, made, steered; the heartbeat that assigns grid points."""

import itertools
import json
from typing import Any

from agent.config.values import digest_of
from agent.server.graphql.access import (
    connection_of,
    need_project,
    need_sweep,
    page_bounds,
    page_of_runs,
    parse_object,
)
from agent.server.graphql.execution import Info, Request, before, change, constants, field
from agent.server.refusals import Refused
from agent.server.store.claims import take_heartbeat, take_leave
from agent.server.store.database import Connection
from agent.server.store.filtering.filters import Clause
from agent.server.store.points import add_point, expected_count, propose_ahead
from agent.server.store.projects import get_project
from agent.server.store.records import Agent, Project, Run, Sweep
from agent.server.store.run_metrics import best_value, read_ahead
from agent.server.store.runs import (
    MAX_PAGE,
    count_runs,
    create_run,
    list_runs,
    of_agent,
    of_project,
    of_sweep,
)
from agent.server.store.sweeps import (
    change_sweep,
    config_of,
    create_agent,
    create_sweep,
    find_agent,
    find_sweep,
    get_agent,
    get_sweep,
    list_agents,
    list_sweeps,
    set_state,
)
from agent.server.store.tokens import node_id, row_id

MAX_RUN_STATE = 256 * 1024  # characters; an agent of the client runs one run


@field("Project", "totalSweeps")
def total_sweeps(source: Project, info: Info) -> int:
    return list_sweeps(info.context.connection, source.id, 0, 0).total


@field("Project", "sweeps")
def sweeps(source: Project, info: Info, **arguments: Any) -> dict[str, Any]:
    page = list_sweeps(info.context.connection, source.id, *page_bounds(arguments))
    return connection_of(page)


@field("Project", "sweep")
def sweep(source: Project, info: Info, sweepName: str) -> Sweep | None:
    return find_sweep(info.context.connection, source.id, sweepName)


constants("Sweep", earlyStopJobRunning=False)


@field("Sweep", "method")
def sweep_method(source: Sweep, _: Info) -> str:
    return config_of(source.config).method


@field("Sweep", "description")
def sweep_description(source: Sweep, _: Info) -> str | None:
    return source.description or config_of(source.config).description


@field("Sweep", "displayName")
def sweep_display_name(source: Sweep, _: Info) -> str | None:
    return source.display_name or config_of(source.config).name


@field("Sweep", "bestLoss")
def sweep_best(source: Sweep, info: Info) -> float | None:
    return best_value(info.context.connection, source)


@field("Sweep", "runCount")
def sweep_run_count(source: Sweep, info: Info) -> int:
    return count_runs(info.context.connection, of_sweep(source.id))


@field("Sweep", "runCountExpected")
def sweep_expected(source: Sweep, _: Info) -> int | None:
    return expected_count(source)


@field("Sweep", "controllerRunName")
def sweep_controller_run(source: Sweep, _: Info) -> str | None:
    """The run that the client's scheduler writes its log to."""
    return f"{source.name}-scheduler" if config_of(source.config).has_scheduler else None


@field("Sweep", "runs")
def sweep_runs(source: Sweep, info: Info, **arguments: Any) -> dict[str, Any]:
    return page_of_runs(info.context, of_sweep(source.id), arguments, MAX_PAGE)


@field("Sweep", "agents")
def sweep_agents(source: Sweep, info: Info) -> dict[str, Any]:
    agents = list_agents(info.context.connection, source.id)
    page = {"endCursor": None, "hasNextPage": False}
    return {"edges": [{"node": agent} for agent in agents], "pageInfo": page}


@field("Sweep", "agent")
def sweep_agent(source: Sweep, info: Info, agentName: str) -> Agent | None:
    connection = info.context.connection
    found = find_agent(connection, source.id, agentName)
    found = found or get_agent(connection, row_id("Agent", agentName))
    return found if found and found.sweep_id == source.id else None


@field("Agent", "totalRuns")
def agent_total_runs(source: Agent, info: Info) -> int:
    return count_runs(info.context.connection, of_agent(source.id))


@field("Agent", "runs")
def agent_runs(source: Agent, info: Info, **arguments: Any) -> dict[str, Any]:
    return page_of_runs(info.context, of_agent(source.id), arguments)


@change("upsertSweep")
def upsert_sweep(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    controller = parse_object(input.get("controller"), "controller")
    if controller.get("type") == "local":
        raise Refused("controller: local sweep controllers are not supported, leave it out")
    project = need_project(request, input.get("entityName"), input.get("projectName"))
    columns = {
        "description": input.get("description"),
        "display_name": input.get("displayName"),
        "controller": input.get("controller"),
        "scheduler": input.get("scheduler"),
        "prior_runs_filters": input.get("priorRunsFilters"),
    }
    columns = {key: value for key, value in columns.items() if value is not None}
    if input.get("id"):
        found = need_sweep(request, input["id"], project)
        if input.get("config"):
            columns["config"] = input["config"]
        found = change_sweep(request.connection, found, request.now, **columns)
    else:
        if not input.get("config"):
            raise Refused("a new sweep needs a config")
        found = create_sweep(request.connection, project, input["config"], request.now, **columns)
    if input.get("priorRunsFilters"):
        _take_prior_runs(request, found, project)
    if input.get("state"):
        found = set_state(request.connection, found, input["state"], request.now)
    return {"sweep": found, "configValidationWarnings": list(config_of(found.config).notes)}


def _take_prior_runs(request: Request, sweep: Sweep, project: Project) -> None:
    """The sweep knows existing runs: grid leaves their points out, bayes learns from them."""
    config = config_of(sweep.config)
    for offset in itertools.count(0, MAX_PAGE):
        page = list_runs(
            request.connection,
            of_project(project.id),
            filters=sweep.prior_runs_filters,
            offset=offset,
            limit=MAX_PAGE,
        )
        for run in page.items:
            point = config.nested_point(config.flat_point(run.config_values()))
            request.connection.execute(
                "INSERT OR REPLACE INTO prior_run VALUES (?, ?, ?)",
                (sweep.id, run.id, digest_of(point)),
            )
        if offset + len(page.items) >= page.total or not page.items:
            return


@field("Sweep", "priorRuns")
def sweep_prior_runs(source: Sweep, info: Info, **arguments: Any) -> dict[str, Any]:
    scope = Clause(
        "run.id IN (SELECT run_id FROM prior_run WHERE prior_run.sweep_id = ?)", (source.id,)
    )
    return page_of_runs(info.context, scope, arguments, MAX_PAGE)


@change("deleteSweep")
def delete_sweep(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    found = need_sweep(request, input["id"])
    request.connection.execute("DELETE FROM sweep WHERE id = ?", (found.id,))
    return {"success": True}


@change("createAgent")
def make_agent(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    project = need_project(request, input.get("entityName"), input.get("projectName"))
    found = need_sweep(request, input["sweep"], project)
    return {"agent": create_agent(request.connection, found, input["host"], request.now)}


@before("agentHeartbeat")
def read_ahead_for_agent(connection: Connection, given: dict[str, Any]) -> None:
    """Curves of long runs are read, and points proposed, while others write."""
    identifier, state = given.get("id"), given.get("runState")
    number = row_id("Agent", identifier) if isinstance(identifier, str) else None
    agent = get_agent(connection, number)
    sweep = get_sweep(connection, agent.sweep_id) if agent else None
    if sweep is not None:
        read_ahead(connection, sweep)
        if state in (None, "", "{}"):
            propose_ahead(connection, sweep)


@change("agentHeartbeat")
def agent_heartbeat(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    request.services.excuse_pauses(request.connection)
    agent = _need_agent(request, input["id"])
    if len(input.get("runState") or "") > MAX_RUN_STATE:
        raise Refused(f"runState: longer than {MAX_RUN_STATE} characters")
    states = parse_object(input.get("runState"), "runState")
    running = {name for name, is_alive in states.items() if is_alive}
    commands = take_heartbeat(
        request.connection, agent, running, request.now, request.services.policy
    )
    return {"agent": agent, "commands": json.dumps(commands)}


@change("leaveSweep")
def leave_sweep(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    agent = _need_agent(request, input["id"])
    take_leave(request.connection, agent, request.now, request.services.policy)
    return {"agent": agent}


def _need_agent(request: Request, identifier: str) -> Agent:
    agent = get_agent(request.connection, row_id("Agent", identifier))
    if agent is None or not _owns(request, agent):
        raise Refused("no such agent; its sweep may have been deleted", status=404)
    return agent


def _owns(request: Request, agent: Agent) -> bool:
    row = request.connection.execute(
        "SELECT project.entity FROM sweep JOIN project ON project.id = sweep.project_id "
        "WHERE sweep.id = ?",
        (agent.sweep_id,),
    ).fetchone()
    return row is not None and row[0] == request.entity


@change("enqueueSweepRun")
def enqueue_run(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    """A point from outside (the client's own scheduler): waits for the next idle agent."""
    found = need_sweep(request, input["id"])
    if found.state not in ("PENDING", "RUNNING", "PAUSED"):
        raise Refused(f"the sweep is {found.state}, it takes no more runs")
    cap = config_of(found.config).run_cap
    count = count_runs(request.connection, of_sweep(found.id))
    if cap is not None and count >= cap:
        raise Refused(f"the sweep has reached its run_cap of {cap}")
    given = parse_object(input["config"], "config")
    config = {
        key: entry["value"] if isinstance(entry, dict) and set(entry) == {"value"} else entry
        for key, entry in given.items()
    }
    point = add_point(request.connection, found, config, display_name=input.get("displayName"))
    run: Run = create_run(
        request.connection,
        get_project(request.connection, found.project_id),
        point.run_name,
        request.now,
        sweep_id=found.id,
        state="pending",
        display_name=point.display_name,
        config=json.dumps({key: {"value": value} for key, value in config.items()}),
    )
    if cap is not None and count + 1 >= cap:
        # The scheduler stops asking once the sweep is finished; agents still take what waits.
        change_sweep(request.connection, found, request.now, state="FINISHED", exhausted=1)
    return {"id": run.name, "runQueueItemId": node_id("Point", point.id)}
