"""From the client's names and ids to rows, within the asking key's entity only.

What belongs to another entity is answered exactly like what does not exist.
"""

import json
from typing import Any

from agent.server.graphql.execution import Request
from agent.server.refusals import Refused
from agent.server.store.filtering.filters import Clause
from agent.server.store.projects import ensure_project, find_project, get_project
from agent.server.store.records import Page, Project, Run, Sweep
from agent.server.store.runs import find_run, get_run, list_runs
from agent.server.store.scalars import whole_number
from agent.server.store.sweeps import find_sweep, get_sweep
from agent.server.store.tokens import row_id

DEFAULT_PAGE = 50
MAX_PAGE = 1000


def check_entity(request: Request, entity: str | None) -> str:
    """The entity meant, which must be the key's own."""
    if entity and entity != request.entity:
        raise Refused(
            f"entity {entity!r} does not exist or this key may not use it; "
            f"the key belongs to {request.entity!r}"
        )
    return request.entity


def see_project(request: Request, entity: str | None, name: str | None) -> Project | None:
    """The project if the key may see it."""
    if entity and entity != request.entity:
        return None
    return find_project(request.connection, request.entity, name)


def need_project(request: Request, entity: str | None, name: str | None) -> Project:
    """The project, made if it is new."""
    check_entity(request, entity)
    return ensure_project(request.connection, request.entity, name, request.now)[0]


def need_run(
    request: Request,
    identifier: str | None = None,
    *,
    entity: str | None = None,
    project: str | None = None,
    name: str | None = None,
) -> Run:
    """A run by its id, or by entity, project and name."""
    if identifier is not None:
        run = get_run(request.connection, row_id("Run", identifier))
        if run and get_project(request.connection, run.project_id).entity == request.entity:
            return run
        raise Refused("no such run")
    found = see_project(request, entity, project)
    run = find_run(request.connection, found.id, name or "") if found else None
    if run is None:
        raise Refused(f"run {entity}/{project}/{name} does not exist")
    return run


def need_sweep(request: Request, identifier: str | None, project: Project | None = None) -> Sweep:
    """A sweep by its id, or by its short name within a project."""
    sweep = get_sweep(request.connection, row_id("Sweep", identifier))
    if sweep is None and project is not None and identifier:
        sweep = find_sweep(request.connection, project.id, identifier)
    if sweep and get_project(request.connection, sweep.project_id).entity == request.entity:
        return sweep
    raise Refused(f"sweep {identifier!r} does not exist")


def page_bounds(arguments: dict[str, Any], default: int = DEFAULT_PAGE) -> tuple[int, int]:
    """(offset, limit) of `after` and `first`; cursors are counts of items before."""
    after, first = arguments.get("after"), arguments.get("first")
    offset = whole_number(str(after or 0))
    if offset is None:
        raise Refused(f"the cursor {str(after)[:40]!r} is not one of this server's")
    limit = default if first is None else max(0, min(int(first), MAX_PAGE))
    return offset, limit


def connection_of(page: Page[Any], **edge_extras: Any) -> dict[str, Any]:
    """A page as a GraphQL connection; extras are functions of an item."""
    edges = [
        {
            "node": item,
            "cursor": str(page.offset + place + 1),
            **{name: make(item) for name, make in edge_extras.items()},
        }
        for place, item in enumerate(page.items)
    ]
    info = {"endCursor": page.end_cursor, "hasNextPage": page.has_next_page}
    return {"edges": edges, "pageInfo": info, "totalCount": page.total}


def page_of_runs(
    request: Request,
    scope: Clause,
    arguments: dict[str, Any],
    default: int = DEFAULT_PAGE,
    **options: Any,
) -> dict[str, Any]:
    """The runs of a scope that a field's arguments ask for, as a GraphQL connection."""
    offset, limit = page_bounds(arguments, default)
    options |= {"filters": arguments.get("filters"), "order": arguments.get("order")}
    page = list_runs(request.connection, scope, offset=offset, limit=limit, **options)
    return connection_of(page)


def slice_of(items: list[Any], arguments: dict[str, Any], default: int = 1000) -> Page[Any]:
    """A page of a list that is at hand."""
    offset, limit = page_bounds(arguments, default)
    return Page(items[offset : offset + limit], len(items), offset)


def parse_object(text: str | None, what: str) -> dict[str, Any]:
    """A JSON object from a client. Raises Refused."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise Refused(f"{what}: this is not JSON") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{what}: expected a JSON object")
    return value
