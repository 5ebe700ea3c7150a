"""Changing artifact collections: named, described, tagged, given another type, deleted."""

from typing import Any

from agent.server.graphql.access import see_project
from agent.server.graphql.artifact_fields import need_collection, tags_of
from agent.server.graphql.execution import Request, change
from agent.server.refusals import Refused
from agent.server.store import artifacts as store
from agent.server.store.database import Connection, update
from agent.server.store.records import Collection

Input = dict[str, Any]
Found = dict[str, Any]


def add_tags(connection: Connection, owner: str, owner_id: int, tags: list[Input] | None) -> None:
    for tag in tags or ():
        connection.execute(
            "INSERT OR IGNORE INTO tag (owner, owner_id, name) VALUES (?, ?, ?)",
            (owner, owner_id, tag["tagName"]),
        )


def drop_tags(connection: Connection, owner: str, owner_id: int, tags: list[Input] | None) -> None:
    for tag in tags or ():
        connection.execute(
            "DELETE FROM tag WHERE owner = ? AND owner_id = ? AND name = ?",
            (owner, owner_id, tag["tagName"]),
        )


def collection_named(request: Request, entry: Input) -> Collection:
    project = see_project(request, entry["entityName"], entry["projectName"])
    name = entry["artifactCollectionName"]
    found = store.find_collection(request.connection, project.id, name) if project else None
    if found is None:
        raise Refused(f"artifact collection {name!r} does not exist")
    return found


def sequence_or_portfolio(request: Request, entry: Input) -> Collection:
    """The collection that a mutation names under either of its two names."""
    identifier = entry.get("artifactSequenceID") or entry.get("artifactPortfolioID") or ""
    return need_collection(request, identifier)


@change("updateArtifactSequence")
@change("updateArtifactPortfolio")
def update_collection(request: Request, input: Input) -> Found:
    found = sequence_or_portfolio(request, input)
    changes = {k: input[k] for k in ("name", "description") if input.get(k) is not None}
    update(request.connection, "collection", found.id, updated_at=request.now, **changes)
    return {"artifactCollection": store.get_collection(request.connection, found.id)}


@change("moveArtifactSequence")
def move_collection(request: Request, input: Input) -> Found:
    """Give a collection another type."""
    found = need_collection(request, input["artifactSequenceID"])
    wanted = store.ensure_type(
        request.connection, found.project_id, input["destinationArtifactTypeName"], request.now
    )
    update(request.connection, "collection", found.id, type_id=wanted.id, updated_at=request.now)
    return {"artifactCollection": store.get_collection(request.connection, found.id)}


@change("deleteArtifactSequence")
@change("deleteArtifactPortfolio")
def delete_collection(request: Request, input: Input) -> Found:
    found = sequence_or_portfolio(request, input)
    request.connection.execute("DELETE FROM collection WHERE id = ?", (found.id,))
    request.services.blobs.is_suspect = True
    return {"artifactCollection": None}


@change("createArtifactCollectionTagAssignments")
def tag_collection(request: Request, input: Input) -> Found:
    found = collection_named(request, input)
    add_tags(request.connection, "collection", found.id, input["tags"])
    return {"tags": tags_of(request, "collection", found.id)}


@change("deleteArtifactCollectionTagAssignments")
def untag_collection(request: Request, input: Input) -> Found:
    found = collection_named(request, input)
    drop_tags(request.connection, "collection", found.id, input["tags"])
    return {"success": True}
