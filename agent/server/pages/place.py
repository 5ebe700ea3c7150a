"""From the address of a page to the project, sweep or run it shows, within the reader's entity.

What belongs to another entity is missing in the same way as what does not exist.
"""

from starlette.requests import Request

from agent.server.store.database import Connection
from agent.server.store.projects import find_project
from agent.server.store.records import Project, Run, Sweep
from agent.server.store.runs import find_run, is_in_bin
from agent.server.store.sweeps import find_sweep


class Missing(Exception):
    """There is no such page for this entity."""


def see_project(connection: Connection, entity: str, request: Request) -> Project:
    """The project of the address. What belongs to others is missing like what isn't there."""
    names = request.path_params
    found = (
        find_project(connection, entity, names["project"]) if names["entity"] == entity else None
    )
    if found is None:
        raise Missing
    return found


def see_sweep(connection: Connection, entity: str, request: Request) -> tuple[Project, Sweep]:
    project = see_project(connection, entity, request)
    sweep = find_sweep(connection, project.id, request.path_params["sweep"])
    if sweep is None:
        raise Missing
    return project, sweep


def see_run(connection: Connection, entity: str, request: Request) -> tuple[Project, Run]:
    project = see_project(connection, entity, request)
    run = find_run(connection, project.id, request.path_params["run"])
    if run is None or is_in_bin(connection, run):
        raise Missing
    return project, run


def number_in(request: Request, name: str) -> float | None:
    """A number of the query, None if it has none."""
    try:
        value = float(request.query_params.get(name, ""))
    except ValueError:
        return None
    return value if abs(value) < 2**53 else None
