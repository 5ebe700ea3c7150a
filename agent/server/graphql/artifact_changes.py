"""Changing artifacts: created, uploaded, committed, used, named, deleted."""

import json
from typing import Any

from agent.server.graphql.access import connection_of, need_project, need_run, slice_of
from agent.server.graphql.artifact_fields import need_artifact, need_collection, see_artifact
from agent.server.graphql.collection_changes import add_tags, collection_named, drop_tags
from agent.server.graphql.execution import Request, change
from agent.server.graphql.file_fields import upload_url
from agent.server.refusals import Refused
from agent.server.store import artifacts as store
from agent.server.store.database import Connection, insert, new_id, update
from agent.server.store.manifests import create_manifest
from agent.server.store.records import Artifact, Collection, Manifest, Run
from agent.server.store.runs import find_run
from agent.server.store.scalars import check_file_name
from agent.server.store.tokens import node_id, row_id

# "minio-local" is what W&B's own single-machine server calls its only region.
OWN_REGIONS = (None, "", "default", "minio-local")
Input = dict[str, Any]
Found = dict[str, Any]


@change("createArtifact")
def create_artifact(request: Request, input: Input) -> Found:
    connection = request.connection
    project = need_project(request, input["entityName"], input["projectName"])
    if input.get("storageRegion") not in OWN_REGIONS:
        raise Refused(f"invalid storageRegion: {input['storageRegion'][:80]}")
    name = input.get("artifactCollectionName") or next(
        iter(input.get("artifactCollectionNames") or ()), None
    )
    if not name:
        raise Refused("createArtifact needs an artifactCollectionName")
    sequence = store.ensure_collection(
        connection,
        project.id,
        input["artifactTypeName"],
        name,
        request.now,
        client_id=input.get("sequenceClientID"),
    )
    aliases = [entry["alias"] for entry in input.get("aliases") or ()]
    run = find_run(connection, project.id, input["runName"]) if input.get("runName") else None
    group = input.get("distributedID")
    if input.get("enableDigestDeduplication") is not False and not group:
        known = store.find_committed(connection, sequence.id, input["digest"])
        if known is not None:
            _log_again(connection, sequence, known, run, aliases)
            return {"artifact": known}
    pending = _find_pending(connection, sequence, input.get("clientID"), group)
    if pending is not None:
        return {"artifact": pending}
    artifact_id = insert(
        connection,
        "artifact",
        sequence_id=sequence.id,
        state="PENDING",
        digest=input["digest"],
        digest_algorithm=input.get("digestAlgorithm"),
        client_id=input.get("clientID"),
        description=input.get("description"),
        metadata=input.get("metadata"),
        labels=input.get("labels"),
        history_step=input.get("historyStep"),
        ttl_seconds=input.get("ttlDurationSeconds"),
        run_id=run.id if run else None,
        pending_aliases=json.dumps(aliases),
        distributed_id=group,
        created_at=request.now,
        updated_at=request.now,
    )
    add_tags(connection, "artifact", artifact_id, input.get("tags"))
    return {"artifact": store.get_artifact(connection, artifact_id)}


def _log_again(
    connection: Connection,
    sequence: Collection,
    known: Artifact,
    run: Run | None,
    aliases: list[str],
) -> None:
    """A run has logged a content that is a version already: the version gets its aliases."""
    for alias in aliases:
        if alias != "latest":
            store.set_alias(connection, sequence.id, known.id, alias)
    if run is not None and run.id != known.run_id:
        connection.execute("INSERT OR IGNORE INTO artifact_again VALUES (?, ?)", (run.id, known.id))


def _find_pending(
    connection: Connection, sequence: Collection, client_id: str | None, group: str | None
) -> Artifact | None:
    """The same creation, sent again or by another process of a distributed artifact."""
    row = connection.execute(
        "SELECT * FROM artifact WHERE sequence_id = ? AND state = 'PENDING' "
        "AND (client_id = ? OR distributed_id = ?) ORDER BY id LIMIT 1",
        (sequence.id, client_id, group),
    ).fetchone()
    return Artifact.maybe(row)


@change("createArtifactManifest")
def make_manifest(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    base = see_artifact(request, row_id("Artifact", input.get("baseArtifactID")))
    made = create_manifest(
        request.connection,
        artifact,
        check_file_name(input["name"]),
        input.get("type") or "FULL",
        input["digest"],
        base.id if base else None,
    )
    return {"artifactManifest": made}


@change("updateArtifactManifest")
def update_manifest(request: Request, input: Input) -> Found:
    row = request.connection.execute(
        "SELECT * FROM manifest WHERE id = ?",
        (row_id("ArtifactManifest", input["artifactManifestID"]),),
    ).fetchone()
    if row is None or see_artifact(request, row["artifact_id"]) is None:
        raise Refused("no such manifest")
    if input.get("digest") is not None:
        if need_artifact(request, node_id("Artifact", row["artifact_id"])).state == "COMMITTED":
            raise Refused("the artifact is committed: its manifest cannot be changed")
        update(request.connection, "manifest", row["id"], digest=input["digest"])
    return {"artifactManifest": Manifest.of(row)}


@change("createArtifactFiles")
def create_artifact_files(request: Request, input: Input) -> Found:
    """Where to send each file; no address for a content that is here already."""
    nodes = [_file_to_send(request, spec) for spec in input["artifactFiles"]]
    return {"files": connection_of(slice_of(nodes, {}, len(nodes)))}


def _file_to_send(request: Request, spec: Input) -> Found:
    artifact = need_artifact(request, spec["artifactID"])
    name = check_file_name(spec["name"])
    node = {
        "id": node_id("ArtifactUpload", artifact.id),
        "name": name,
        "displayName": name,
        "storagePath": name,
        "uploadUrl": None,
        "uploadHeaders": [],
        "uploadMultipartUrls": None,
        "sizeBytes": 0,
        "artifact": artifact,
        "md5": spec["md5"],
        "digest": spec["md5"],
    }
    if artifact.state == "COMMITTED":
        raise Refused("the artifact is committed: its files cannot be changed")
    known = store.known_content(request.connection, artifact.sequence_id, spec["md5"])
    request.connection.execute(
        "INSERT INTO artifact_upload (id, artifact_id, name, md5, blob, size) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (artifact_id, name) DO UPDATE SET "
        "blob = ifnull(excluded.blob, CASE WHEN md5 = excluded.md5 THEN blob END), "
        "size = excluded.size, md5 = excluded.md5",
        (
            new_id(request.connection, "artifact_upload"),
            artifact.id,
            name,
            spec["md5"],
            known["blob"] if known else None,
            known["size"] if known else 0,
        ),
    )
    if known:
        return node  # the row keeps the content until the artifact is committed
    row = request.connection.execute(
        "SELECT id FROM artifact_upload WHERE artifact_id = ? AND name = ?", (artifact.id, name)
    ).fetchone()
    node["uploadUrl"] = upload_url(request, {"put": "artifact", "id": row["id"]})
    return node


@change("commitArtifact")
def commit_artifact(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    blobs = request.services.blobs
    return {"artifact": store.commit(request.connection, blobs, artifact, request.now)}


@change("useArtifact")
def use_artifact(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    run = need_run(
        request, entity=input["entityName"], project=input["projectName"], name=input["runName"]
    )
    request.connection.execute(
        "INSERT OR REPLACE INTO artifact_use (run_id, artifact_id, used_as) VALUES (?, ?, ?)",
        (run.id, artifact.id, input.get("usedAs")),
    )
    return {"artifact": artifact}


@change("updateArtifact")
def update_artifact(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    connection = request.connection
    changes: Input = {k: input[k] for k in ("description", "metadata", "labels") if k in input}
    if input.get("ttlDurationSeconds") is not None:
        changes["ttl_seconds"] = input["ttlDurationSeconds"]
    update(connection, "artifact", artifact.id, updated_at=request.now, **changes)
    if input.get("aliases") is not None:
        connection.execute(
            "DELETE FROM alias WHERE artifact_id = ? AND collection_id = ?",
            (artifact.id, artifact.sequence_id),
        )
        for entry in input["aliases"]:
            store.set_alias(connection, artifact.sequence_id, artifact.id, entry["alias"])
    add_tags(connection, "artifact", artifact.id, input.get("tagsToAdd"))
    drop_tags(connection, "artifact", artifact.id, input.get("tagsToDelete"))
    return {"artifact": store.get_artifact(connection, artifact.id)}


@change("deleteArtifact")
def delete_artifact(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    aliases = store.aliases_of(request.connection, artifact.id)
    if aliases and not input.get("deleteAliases"):
        named = ", ".join(alias.alias for alias in aliases)
        raise Refused(f"the artifact has aliases ({named}); delete them with it or first")
    request.connection.execute("DELETE FROM alias WHERE artifact_id = ?", (artifact.id,))
    update(request.connection, "artifact", artifact.id, state="DELETED", updated_at=request.now)
    request.services.blobs.is_suspect = True
    for alias in aliases:
        newest = store.latest_artifact(request.connection, alias.collection_id)
        if alias.alias == "latest" and newest is not None:
            store.set_alias(request.connection, alias.collection_id, newest.id, "latest")
    return {"artifact": store.get_artifact(request.connection, artifact.id)}


@change("addAliases")
def add_aliases(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    for entry in input["aliases"]:
        collection = collection_named(request, entry)
        store.set_alias(request.connection, collection.id, artifact.id, entry["alias"])
    return {"success": True}


@change("deleteAliases")
def delete_aliases(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    for entry in input["aliases"]:
        collection = collection_named(request, entry)
        request.connection.execute(
            "DELETE FROM alias WHERE artifact_id = ? AND collection_id = ? AND alias = ?",
            (artifact.id, collection.id, entry["alias"]),
        )
    return {"success": True}


@change("linkArtifact")
def link_artifact(request: Request, input: Input) -> Found:
    """Put a version into a portfolio, a collection that gathers versions of others."""
    connection = request.connection
    found = row_id("Artifact", input.get("artifactID"))
    if found is None and input.get("clientID"):
        row = connection.execute(
            "SELECT id FROM artifact WHERE client_id = ?", (input["clientID"],)
        ).fetchone()
        found = row[0] if row else None
    artifact = see_artifact(request, found)
    if artifact is None:
        raise Refused("no such artifact")
    sequence = store.get_collection(connection, artifact.sequence_id)
    assert sequence is not None
    if input.get("artifactPortfolioID"):
        portfolio = need_collection(request, input["artifactPortfolioID"])
    else:
        project = need_project(request, input.get("entityName"), input.get("projectName"))
        portfolio = store.ensure_collection(
            connection,
            project.id,
            store.get_type(connection, sequence.type_id).name,
            input.get("artifactPortfolioName") or "",
            request.now,
            kind="PORTFOLIO",
        )
    member = store.add_member(connection, portfolio, artifact.id, request.now)
    for alias in ["latest", *(entry["alias"] for entry in input.get("aliases") or ())]:
        store.set_alias(connection, portfolio.id, artifact.id, alias)
    return {"versionIndex": member.version_index, "artifactMembership": member}


@change("unlinkArtifact")
def unlink_artifact(request: Request, input: Input) -> Found:
    artifact = need_artifact(request, input["artifactID"])
    portfolio = need_collection(request, input["artifactPortfolioID"])
    for table in ("alias", "membership"):
        request.connection.execute(
            f"DELETE FROM {table} WHERE artifact_id = ? AND collection_id = ?",
            (artifact.id, portfolio.id),
        )
    return {"success": True}
