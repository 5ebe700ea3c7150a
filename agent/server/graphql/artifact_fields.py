"""Reading artifacts: types, collections, versions, aliases, lineage."""

from collections.abc import Callable
from typing import Any, TypeVar

from agent.server.graphql.access import connection_of, page_bounds, slice_of
from agent.server.graphql.execution import Info, Request, constants, field
from agent.server.graphql.file_fields import artifact_file_node
from agent.server.refusals import Refused
from agent.server.store import artifacts as store
from agent.server.store.filtering.matching import in_order, matches, parse_filter
from agent.server.store.projects import get_project
from agent.server.store.records import (
    Alias,
    Artifact,
    ArtifactType,
    Collection,
    Membership,
    Page,
    Project,
    Run,
    iso_time,
)
from agent.server.store.runs import get_run
from agent.server.store.tokens import node_id, row_id

Found = dict[str, Any]
Resolver = TypeVar("Resolver", bound=Callable[..., Any])


def see_artifact(request: Request, artifact_id: int | None) -> Artifact | None:
    """The artifact if it belongs to the asking entity."""
    artifact = store.get_artifact(request.connection, artifact_id)
    return artifact if artifact and _is_mine(request, artifact.sequence_id) else None


def need_artifact(request: Request, identifier: str | None) -> Artifact:
    artifact = see_artifact(request, row_id("Artifact", identifier))
    if artifact is None:
        raise Refused("no such artifact")
    return artifact


def need_collection(request: Request, identifier: str) -> Collection:
    for kind in ("ArtifactSequence", "ArtifactPortfolio"):
        found = store.get_collection(request.connection, row_id(kind, identifier))
        if found and _is_mine(request, found.id):
            return found
    raise Refused("no such artifact collection")


def _is_mine(request: Request, collection_id: int) -> bool:
    found = store.get_collection(request.connection, collection_id)
    owner = get_project(request.connection, found.project_id).entity if found else None
    return owner == request.entity


@field("Query", "artifact")
def artifact_by_id(_: Any, info: Info, id: str) -> Artifact | None:
    return see_artifact(info.context, row_id("Artifact", id))


@field("Query", "artifactCollection")
def collection_by_id(_: Any, info: Info, id: str) -> Collection:
    return need_collection(info.context, id)


@field("Query", "clientIDMapping")
def client_id_mapping(_: Any, info: Info, clientID: str) -> Found | None:
    row = info.context.connection.execute(
        "SELECT id FROM artifact WHERE client_id = ? ORDER BY id DESC LIMIT 1", (clientID,)
    ).fetchone()
    artifact = see_artifact(info.context, row[0] if row else None)
    return {"serverID": node_id("Artifact", artifact.id)} if artifact else None


@field("Project", "artifactCollectionMembership")
def membership_by_name(source: Project, info: Info, name: str) -> Membership | None:
    collection_name, _, alias = name.partition(":")
    collection = store.find_collection(info.context.connection, source.id, collection_name)
    if collection is None:
        return None
    return store.find_membership(info.context.connection, collection.id, alias or "latest")


@field("Project", "artifact")
def artifact_by_name(source: Project, info: Info, name: str) -> Artifact | None:
    member = membership_by_name(source, info, name)
    if member is None:
        return None
    return store.get_artifact(info.context.connection, member.artifact_id)


@field("Project", "artifactType")
def artifact_type(source: Project, info: Info, name: str) -> ArtifactType | None:
    return store.find_type(info.context.connection, source.id, name)


@field("Project", "artifactTypes")
def artifact_types(source: Project, info: Info, **arguments: Any) -> Found:
    return connection_of(slice_of(store.list_types(info.context.connection, source.id), arguments))


@field("Project", "artifactCollection")
def collection(source: Project, info: Info, name: str) -> Collection | None:
    return store.find_collection(info.context.connection, source.id, name)


@field("Project", "artifactCollections")
def collections(source: Project, info: Info, **arguments: Any) -> Found:
    found = store.list_collections(info.context.connection, source.id)
    return connection_of(slice_of(_chosen(info.context, found, arguments), arguments))


def _chosen(
    request: Request, found: list[Collection], arguments: dict[str, Any]
) -> list[Collection]:
    """The collections that a filter asks for, newest first unless another order is named."""

    def values_of(item: Collection) -> dict[str, Any]:
        return {
            "id": item.id,
            "name": item.name,
            "description": item.description,
            "createdat": iso_time(item.created_at),
            "updatedat": iso_time(item.updated_at),
            "tags": [tag["name"] for tag in tags_of(request, "collection", item.id)],
        }

    tree = parse_filter(arguments.get("filters"))
    kept = [item for item in found if not tree or matches(tree, values_of(item))]
    return in_order(kept, arguments.get("order"), values_of, "-id")


@field("ArtifactType", "artifactCollection")
def type_collection(source: ArtifactType, info: Info, name: str) -> Collection | None:
    found = store.find_collection(info.context.connection, source.project_id, name)
    return found if found and found.type_id == source.id else None


@field("ArtifactType", "artifactCollections")
def type_collections(source: ArtifactType, info: Info, **arguments: Any) -> Found:
    found = store.list_collections(info.context.connection, source.project_id, source.id)
    return connection_of(slice_of(_chosen(info.context, found, arguments), arguments))


def _collection_field(name: str) -> Callable[[Resolver], Resolver]:
    """A resolver for both kinds of collection."""

    def register(resolver: Resolver) -> Resolver:
        field("ArtifactSequence", name)(resolver)
        return field("ArtifactPortfolio", name)(resolver)

    return register


for _kind in ("ArtifactSequence", "ArtifactPortfolio"):
    constants(_kind, state="READY", digestAlgorithm="MANIFEST_MD5")


@_collection_field("defaultArtifactType")
def collection_type(source: Collection, info: Info) -> ArtifactType:
    return store.get_type(info.context.connection, source.type_id)


@_collection_field("tags")
def collection_tags(source: Collection, info: Info) -> Found:
    return {"edges": [{"node": tag} for tag in tags_of(info.context, "collection", source.id)]}


def tags_of(request: Request, owner: str, owner_id: int) -> list[Found]:
    rows = request.connection.execute(
        "SELECT id, name FROM tag WHERE owner = ? AND owner_id = ? ORDER BY id", (owner, owner_id)
    )
    return [{"id": node_id("Tag", row["id"]), "name": row["name"]} for row in rows]


@_collection_field("aliases")
def collection_aliases(source: Collection, info: Info, **arguments: Any) -> Found:
    rows = info.context.connection.execute(
        "SELECT * FROM alias WHERE collection_id = ? ORDER BY id", (source.id,)
    )
    return connection_of(slice_of([Alias.of(row) for row in rows], arguments))


@_collection_field("artifacts")
def collection_artifacts(source: Collection, info: Info, **arguments: Any) -> Found:
    request: Request = info.context
    versions = store.list_versions(request.connection, source.id)
    index = {artifact.id: member.version_index for artifact, member in versions}

    def values_of(item: Artifact) -> dict[str, Any]:
        aliases = store.aliases_of(request.connection, item.id, source.id)
        return {
            "versionindex": index[item.id],
            "state": item.state,
            "size": item.size,
            "digest": item.digest,
            "alias": [alias.alias for alias in aliases],
            "aliases": [alias.alias for alias in aliases],
            "id": item.id,
            "tags": [tag["name"] for tag in tags_of(request, "artifact", item.id)],
            "createdat": iso_time(item.created_at),
            "updatedat": iso_time(item.updated_at),
        }

    tree = parse_filter(arguments.get("filters"))
    tree.pop("state", None)  # only committed versions are listed
    kept = [item for item, _ in versions if not tree or matches(tree, values_of(item))]
    ordered = in_order(kept, arguments.get("order"), values_of, "-version_index")
    page = slice_of(ordered, arguments, 50)
    return connection_of(page, version=lambda artifact: f"v{index[artifact.id]}")


@_collection_field("artifactMembership")
def collection_membership(source: Collection, info: Info, aliasName: str) -> Membership | None:
    return store.find_membership(info.context.connection, source.id, aliasName)


@field("ArtifactSequence", "latestArtifact")
def sequence_latest(source: Collection, info: Info) -> Artifact | None:
    return store.latest_artifact(info.context.connection, source.id)


@field("ArtifactCollectionMembership", "aliases")
def membership_aliases(source: Membership, info: Info) -> list[Alias]:
    return store.aliases_of(info.context.connection, source.artifact_id, source.collection_id)


@field("ArtifactCollectionMembership", "artifactCollection")
def membership_collection(source: Membership, info: Info) -> Collection | None:
    return store.get_collection(info.context.connection, source.collection_id)


@field("ArtifactCollectionMembership", "artifact")
def membership_artifact(source: Membership, info: Info) -> Artifact | None:
    return store.get_artifact(info.context.connection, source.artifact_id)


@field("ArtifactCollectionMembership", "files")
def membership_files(source: Membership, info: Info, **arguments: Any) -> Found:
    return files_of(info.context, source.artifact_id, arguments)


def files_of(request: Request, artifact_id: int, arguments: dict[str, Any]) -> Found:
    page = store.list_files(
        request.connection, artifact_id, arguments.get("names"), *page_bounds(arguments)
    )
    nodes = [artifact_file_node(request, file) for file in page.items]
    return connection_of(Page(nodes, page.total, page.offset))


@field("ArtifactAlias", "artifactCollection")
def alias_collection(source: Alias, info: Info) -> Collection | None:
    return store.get_collection(info.context.connection, source.collection_id)


@field("ArtifactAlias", "artifactCollectionName")
def alias_collection_name(source: Alias, info: Info) -> str | None:
    found = store.get_collection(info.context.connection, source.collection_id)
    return found.name if found else None


@field("Run", "outputArtifacts")
def run_outputs(source: Run, info: Info, **arguments: Any) -> Found:
    return connection_of(slice_of(store.outputs_of(info.context.connection, source.id), arguments))


@field("Run", "inputArtifacts")
def run_inputs(source: Run, info: Info, **arguments: Any) -> Found:
    return connection_of(slice_of(store.inputs_of(info.context.connection, source.id), arguments))


@field("Artifact", "createdBy")
def artifact_created_by(source: Artifact, info: Info) -> Run | None:
    return get_run(info.context.connection, source.run_id)


@field("Artifact", "usedBy")
def artifact_used_by(source: Artifact, info: Info, **arguments: Any) -> Found:
    return connection_of(slice_of(store.users_of(info.context.connection, source.id), arguments))
