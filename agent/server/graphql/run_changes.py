"""Changing runs: made, updated, stopped, deleted."""

import contextlib
import json
from typing import Any

from agent.server.graphql.access import need_project, need_run, need_sweep
from agent.server.graphql.execution import Request, before, change
from agent.server.refusals import Refused
from agent.server.store.branches import inherit_history
from agent.server.store.claims import ask_to_stop, forget_run, settle
from agent.server.store.database import Connection, insert, update
from agent.server.store.points import find_point
from agent.server.store.projects import get_project
from agent.server.store.records import Project, Run
from agent.server.store.runs import (
    bounded_summary,
    change_run,
    create_run,
    end_run,
    find_run,
    get_run,
    normalise_object,
    take_from_bin,
)
from agent.server.store.streams import clear_streams
from agent.server.store.tokens import row_id

_TEXT_COLUMNS = {
    "groupName": "group_name",
    "description": "description",
    "displayName": "display_name",
    "notes": "notes",
    "commit": "commit_hash",
    "host": "host",
    "jobProgram": "program",
    "jobRepo": "repo",
    "jobType": "job_type",
}
MAX_TEXT = 1_000_000
MAX_TAGS = 1_000


@before("upsertBucket")
def read_long_objects(_: Connection, given: dict[str, Any]) -> None:
    """Long JSON is read before the database is held; what is wrong with it is said then."""
    with contextlib.suppress(Refused):
        for name, read in (("config", normalise_object), ("summaryMetrics", bounded_summary)):
            if isinstance(given.get(name), str):
                read(given[name], name)


@change("upsertBucket")
def upsert_bucket(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    """Make or change a run.

    A client that resumes sends the run's id. A point that was handed out again and sends only its
    name begins at step 0, so what an earlier attempt logged is forgotten; any other run's lines
    are kept, because the parts of one run may be synced one after the other.
    """
    has_id = bool(input.get("id"))
    found, project = _target(request, input)
    columns = _columns(input)
    sweep_id = _sweep_of(request, input, project)
    if sweep_id is not None:
        columns["sweep_id"] = sweep_id
    if found is None:
        name = input.get("name") or ""
        state = input.get("state") or "running"
        is_start = state != "pending"
        made = create_run(
            request.connection,
            project,
            name,
            request.now,
            **{**columns, "state": state, "initialised": int(is_start)},
        )
        inherit_history(request.connection, made)
        _claim_for_outsider(request, made)
        return {"bucket": made, "inserted": True}
    if _is_start(input):
        take_from_bin(request.connection, found, request.now)  # it is wanted again
    if _is_start(input) and (found.is_over or found.state == "pending"):
        columns |= {"state": "running", "initialised": 1, "finished_at": None, "exit_code": None}
        columns |= {"preempting": 0} if found.is_over else {}
        if found.state == "pending" and found.initialised and not has_id:
            clear_streams(request.connection, found)  # handed out again and not resumed
    elif input.get("state") in ("running", "pending") and found.is_over:
        columns |= {"state": input["state"], "finished_at": None, "exit_code": None}
    changed = change_run(request.connection, found, request.now, **columns)
    if not found.initialised:
        _claim_for_outsider(request, changed)
    return {"bucket": changed, "inserted": not found.initialised}


def _target(request: Request, input: dict[str, Any]) -> tuple[Run | None, Project]:
    """The run meant (None if it is to be made) and its project."""
    if input.get("id") and row_id("Run", input["id"]) is not None:
        run = need_run(request, input["id"])
        return run, get_project(request.connection, run.project_id)
    name = input.get("name") or input.get("id")
    if not name:
        raise Refused("upsertBucket needs a run's id or name")
    input["name"] = name
    project = need_project(request, input.get("entityName"), input.get("modelName"))
    return find_run(request.connection, project.id, name), project


def _is_start(input: dict[str, Any]) -> bool:
    """Whether this is `wandb.init` (which says where it runs), not an edit through the API."""
    return input.get("host") is not None or input.get("jobProgram") is not None


def _columns(input: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key, column in _TEXT_COLUMNS.items():
        value = input.get(key)
        if value is not None:
            if len(value) > MAX_TEXT:
                raise Refused(f"{key}: longer than {MAX_TEXT} characters")
            columns[column] = value
    if columns.get("display_name") == "":
        del columns["display_name"]
    if input.get("config") is not None:
        columns["config"] = normalise_object(input["config"], "config")
    if input.get("summaryMetrics") is not None:
        columns["summary"] = bounded_summary(input["summaryMetrics"], "summaryMetrics")
    if input.get("tags") is not None:
        if len(input["tags"]) > MAX_TAGS:
            raise Refused(f"tags: more than {MAX_TAGS} on one run")
        columns["tags"] = json.dumps(list(dict.fromkeys(input["tags"])))
    return columns


def _sweep_of(request: Request, input: dict[str, Any], project: Project) -> int | None:
    if not input.get("sweep"):
        return None
    return need_sweep(request, input["sweep"], project).id


def _claim_for_outsider(request: Request, run: Run) -> None:
    """A run that began away from this server (offline, then synced) takes its point with it."""
    if run.sweep_id is None:
        return
    point = find_point(request.connection, run.sweep_id, run.name)
    if point is not None and point.status == "open":
        update(
            request.connection,
            "point",
            point.id,
            status="claimed",
            claimed_at=request.now,
            lease_until=request.now + request.services.policy.lease_s,
        )


@change("deleteRun")
def delete_run(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    if get_run(request.connection, row_id("Run", input["id"])) is None:
        return {"clientMutationId": input.get("clientMutationId")}  # deleted before
    run = need_run(request, input["id"])
    if input.get("deleteArtifacts"):
        request.connection.execute("DELETE FROM artifact WHERE run_id = ?", (run.id,))
    forget_run(request.connection, run, request.services.policy)
    request.services.blobs.is_suspect = True
    return {"clientMutationId": input.get("clientMutationId")}


@change("stopRun")
def stop_run(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    run = need_run(request, input["id"])
    ask_to_stop(request.connection, run, request.now, request.services.policy)
    return {"success": True}


@change("updateRunState")
def update_run_state(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    run, wanted = need_run(request, input["id"]), input["state"]
    if run.sweep_id is not None:
        raise Refused("the state of a sweep's run cannot be changed")
    allowed = {
        "pending": ("running", "failed", "crashed", "preempted"),
        "failed": ("pending", "running"),
    }
    if run.state not in allowed.get(wanted, ()):
        raise Refused(f"invalid state transition from {run.state!r} to {wanted!r}")
    if wanted == "failed":
        settle(
            request.connection,
            end_run(request.connection, run, "failed", request.now),
            request.now,
            request.services.policy,
        )
    else:
        change_run(request.connection, run, request.now, state=wanted, finished_at=None)
    return {"success": True}


@change("notifyScriptableRunAlert")
def notify_alert(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    run = need_run(
        request, entity=input["entityName"], project=input["projectName"], name=input["runName"]
    )
    insert(
        request.connection,
        "alert",
        run_id=run.id,
        title=input["title"][:500],
        text=input["text"][:10_000],
        severity=input.get("severity") or "INFO",
        created_at=request.now,
    )
    return {"success": True}
