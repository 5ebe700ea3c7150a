"""Who is asking, what the server can do, which projects there are."""

from typing import Any

from agent.server.graphql.access import check_entity, connection_of, page_bounds, see_project
from agent.server.graphql.execution import Info, Request, change, columns, constants, field
from agent.server.refusals import Refused
from agent.server.store.database import update
from agent.server.store.keys import KeyRecord, list_keys
from agent.server.store.projects import ensure_project, get_project, list_projects
from agent.server.store.records import Collection, Project, Run, Sweep
from agent.server.store.tokens import node_id, row_id

# What this server does of the abilities that the client asks for before it uses them.
FEATURES = (
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP",
    "SWEEPS_LOCAL_SCHEDULER",
    "UPDATE_RUN_STATE",
)


def user_of(entity: str, request: Request | None = None) -> dict[str, Any]:
    keys = []
    if request is not None:
        keys = [
            {"node": _key_node(key)}
            for key in list_keys(request.connection)
            if key.entity == entity and key.revoked_at is None
        ]
    return {
        "id": node_id("User", 0) if not entity else node_id("User", _number(entity)),
        "name": entity,
        "username": entity,
        "email": f"{entity}@localhost",
        "entity": entity,
        "admin": False,
        "flags": "{}",
        "deletedAt": None,
        "apiKeys": {"edges": keys},
        "teams": {"edges": [{"node": entity_of(entity)}]},
        "organizations": [],
    }


def _key_node(key: KeyRecord) -> dict[str, Any]:
    return {"id": node_id("ApiKey", key.id), "name": key.hint, "description": key.label}


def _member(name: str) -> dict[str, Any]:
    return {
        "id": node_id("User", _number(name)),
        "admin": False,
        "pending": False,
        "email": f"{name}@localhost",
        "username": name,
        "name": name,
        "photoUrl": None,
        "accountType": "USER",
        "apiKey": None,
        "role": "member",
    }


def entity_of(name: str) -> dict[str, Any]:
    return {
        "id": node_id("Entity", _number(name)),
        "name": name,
        "available": False,
        "photoUrl": None,
        "readOnly": False,
        "readOnlyAdmin": False,
        "isTeam": False,
        "entityType": "user",
        "privateOnly": True,
        "storageBytes": 0,
        "codeSavingEnabled": True,
        "defaultAccess": "PRIVATE",
        "isPaid": False,
        "limits": "{}",
        "members": [_member(name)],
        "user": {"id": node_id("User", _number(name)), "name": name, "organizations": []},
        "organization": None,
        "xxhashDigestsEnabled": False,
    }


def _number(entity: str) -> int:
    """A stable number for an entity's ids, because entities have no table of their own."""
    return int.from_bytes(entity.encode()[:6].ljust(6, b"\0"), "big")


@field("Query", "viewer")
def viewer(_: Any, info: Info) -> dict[str, Any]:
    return user_of(info.context.entity, info.context)


@field("Query", "users")
def users(_: Any, info: Info, **arguments: Any) -> dict[str, Any]:
    wanted, entity = arguments.get("query"), info.context.entity
    found = [user_of(entity, info.context)] if wanted in (None, "", entity) else []
    return {"edges": [{"node": user} for user in found]}


@field("Query", "serverInfo")
def server_info(_: Any, __: Info) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        "cliVersionInfo": {"max_cli_version": "99.0.0"},
        "latestLocalVersionInfo": None,
    }


@field("Query", "entity")
def entity(_: Any, info: Info, name: str | None = None) -> dict[str, Any] | None:
    return entity_of(info.context.entity) if name in (None, info.context.entity) else None


@field("Entity", "project")
def entity_project(source: dict[str, Any], info: Info, name: str | None = None) -> Project | None:
    return see_project(info.context, source["name"], name)


@field("Query", "project")
@field("Query", "model")
def project(_: Any, info: Info, **arguments: Any) -> Project | None:
    return see_project(info.context, arguments.get("entityName"), arguments.get("name"))


@field("Query", "models")
@field("Query", "projects")
def projects(_: Any, info: Info, **arguments: Any) -> dict[str, Any]:
    request: Request = info.context
    owner = check_entity(request, arguments.get("entityName"))
    return connection_of(list_projects(request.connection, owner, *page_bounds(arguments)))


columns("Project", entityName="entity")
constants("Project", readOnly=False, isBenchmark=False, members=())
constants("Project", allViews={"edges": (), "pageInfo": {"endCursor": None, "hasNextPage": False}})


@field("Project", "internalId")
def project_internal_id(source: Project, _: Info) -> str:
    return node_id("ProjectInternalId", source.id)


@field("Project", "entity")
def project_entity(source: Project, _: Info) -> dict[str, Any]:
    return entity_of(source.entity)


@field("Run", "project")
@field("Sweep", "project")
@field("ArtifactSequence", "project")
@field("ArtifactPortfolio", "project")
def project_of(source: Run | Sweep | Collection, info: Info) -> Project:
    return get_project(info.context.connection, source.project_id)


@field("Run", "user")
@field("Sweep", "user")
def user_who_asks(_: Any, info: Info) -> dict[str, Any]:
    return user_of(info.context.entity)


@field("Project", "user")
def project_user(source: Project, info: Info) -> dict[str, Any]:
    return user_of(source.entity, info.context)


@field("Project", "access")
def project_access(source: Project, _: Info) -> str:
    return source.access or "PRIVATE"


@change("upsertModel")
def upsert_model(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    owner = check_entity(request, input.get("entityName"))
    made, inserted = ensure_project(request.connection, owner, input.get("name"), request.now)
    changes = {key: input[key] for key in ("description", "access", "views") if input.get(key)}
    update(request.connection, "project", made.id, updated_at=request.now, **changes)
    made = get_project(request.connection, made.id)
    return {"project": made, "model": made, "inserted": inserted}


@change("deleteModel")
def delete_model(request: Request, input: dict[str, Any]) -> dict[str, Any]:
    found = row_id("Project", input["id"])
    cursor = request.connection.execute(
        "DELETE FROM project WHERE id = ? AND entity = ?", (found, request.entity)
    )
    if cursor.rowcount != 1:
        raise Refused("no such project")
    request.services.blobs.is_suspect = True
    return {"success": True}
