"""Projects: found by entity and name, made on first use."""

import re

from agent.server.refusals import Refused
from agent.server.store.database import Connection, insert
from agent.server.store.records import Page, Project

_NAME = re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")
DEFAULT_PROJECT = "uncategorized"


def find_project(connection: Connection, entity: str, name: str | None) -> Project | None:
    row = connection.execute(
        "SELECT * FROM project WHERE entity = ? AND name = ?", (entity, name or DEFAULT_PROJECT)
    ).fetchone()
    return Project.maybe(row)


def get_project(connection: Connection, project_id: int) -> Project:
    row = connection.execute("SELECT * FROM project WHERE id = ?", (project_id,)).fetchone()
    return Project.of(row)


def ensure_project(
    connection: Connection, entity: str, name: str | None, now: float
) -> tuple[Project, bool]:
    """The project, made if it is new; the second value says whether it was made."""
    found = find_project(connection, entity, name)
    if found:
        return found, False
    name = name or DEFAULT_PROJECT
    if not _NAME.fullmatch(name):
        raise Refused(f"project name {name!r} has characters that are not allowed (/\\#?%:)")
    project_id = insert(
        connection, "project", entity=entity, name=name, created_at=now, updated_at=now
    )
    return get_project(connection, project_id), True


def list_projects(
    connection: Connection, entity: str, offset: int = 0, limit: int = 50
) -> Page[Project]:
    rows = connection.execute(
        "SELECT * FROM project WHERE entity = ? ORDER BY id DESC LIMIT ? OFFSET ?",
        (entity, limit, offset),
    )
    items = [Project.of(row) for row in rows]
    total = connection.execute(
        "SELECT count(*) FROM project WHERE entity = ?", (entity,)
    ).fetchone()[0]
    return Page(items, total, offset)


def next_run_number(connection: Connection, project_id: int) -> int:
    """Counts the project's runs up, for their names."""
    connection.execute(
        "UPDATE project SET run_counter = run_counter + 1 WHERE id = ?", (project_id,)
    )
    row = connection.execute(
        "SELECT run_counter FROM project WHERE id = ?", (project_id,)
    ).fetchone()
    return int(row[0])
