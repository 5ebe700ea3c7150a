"""Artifacts: collections, versions, aliases, files, and who made and used them."""

import json
import re
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection, insert, update
from agent.server.store.manifests import settle_manifest
from agent.server.store.records import (
    Alias,
    Artifact,
    ArtifactFile,
    ArtifactType,
    Collection,
    Membership,
    Page,
    Run,
)
from agent.server.store.scalars import check_file_name, read_int64

_VERSION = re.compile(r"v([0-9]{1,9})")
_NAME = re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")


def ensure_type(connection: Connection, project_id: int, name: str, now: float) -> ArtifactType:
    found = find_type(connection, project_id, name)
    if found is None:
        insert(connection, "artifact_type", project_id=project_id, name=name, created_at=now)
        found = find_type(connection, project_id, name)
    assert found is not None
    return found


def find_type(connection: Connection, project_id: int, name: str) -> ArtifactType | None:
    row = connection.execute(
        "SELECT * FROM artifact_type WHERE project_id = ? AND name = ?", (project_id, name)
    ).fetchone()
    return ArtifactType.maybe(row)


def get_type(connection: Connection, type_id: int) -> ArtifactType:
    row = connection.execute("SELECT * FROM artifact_type WHERE id = ?", (type_id,)).fetchone()
    return ArtifactType.of(row)


def list_types(connection: Connection, project_id: int) -> list[ArtifactType]:
    rows = connection.execute(
        "SELECT * FROM artifact_type WHERE project_id = ? ORDER BY id", (project_id,)
    )
    return [ArtifactType.of(row) for row in rows]


def find_collection(connection: Connection, project_id: int, name: str) -> Collection | None:
    row = connection.execute(
        "SELECT * FROM collection WHERE project_id = ? AND name = ?", (project_id, name)
    ).fetchone()
    return Collection.maybe(row)


def get_collection(connection: Connection, collection_id: int | None) -> Collection | None:
    row = connection.execute("SELECT * FROM collection WHERE id = ?", (collection_id,)).fetchone()
    return Collection.maybe(row)


def list_collections(
    connection: Connection, project_id: int, type_id: int | None = None
) -> list[Collection]:
    rows = connection.execute(
        "SELECT * FROM collection WHERE project_id = ? AND (? IS NULL OR type_id = ?) ORDER BY id",
        (project_id, type_id, type_id),
    )
    return [Collection.of(row) for row in rows]


def ensure_collection(
    connection: Connection,
    project_id: int,
    type_name: str,
    name: str,
    now: float,
    *,
    kind: str = "SEQUENCE",
    client_id: str | None = None,
) -> Collection:
    """The collection of this name; its type is fixed when it is made."""
    wanted = ensure_type(connection, project_id, type_name, now)
    found = find_collection(connection, project_id, name)
    if found is None:
        if not _NAME.fullmatch(name):
            raise Refused(f"artifact name {name!r} has characters that are not allowed")
        collection_id = insert(
            connection,
            "collection",
            project_id=project_id,
            type_id=wanted.id,
            kind=kind,
            name=name,
            client_id=client_id,
            created_at=now,
            updated_at=now,
        )
        found = get_collection(connection, collection_id)
    elif found.type_id != wanted.id:
        known = get_type(connection, found.type_id).name
        raise Refused(f"artifact {name!r} has type {known!r}, not {type_name!r}")
    assert found is not None
    return found


def get_artifact(connection: Connection, artifact_id: int | None) -> Artifact | None:
    row = connection.execute("SELECT * FROM artifact WHERE id = ?", (artifact_id,)).fetchone()
    return Artifact.maybe(row)


def find_committed(connection: Connection, sequence_id: int, digest: str) -> Artifact | None:
    """The version with this content, so that the same content is not stored as two versions."""
    row = connection.execute(
        "SELECT * FROM artifact WHERE sequence_id = ? AND digest = ? AND state = 'COMMITTED'",
        (sequence_id, digest),
    ).fetchone()
    return Artifact.maybe(row)


def latest_artifact(connection: Connection, collection_id: int) -> Artifact | None:
    row = connection.execute(
        "SELECT artifact.* FROM membership JOIN artifact ON artifact.id = membership.artifact_id "
        "WHERE membership.collection_id = ? AND state = 'COMMITTED' "
        "ORDER BY membership.version_index DESC LIMIT 1",
        (collection_id,),
    ).fetchone()
    return Artifact.maybe(row)


def list_versions(connection: Connection, collection_id: int) -> list[tuple[Artifact, Membership]]:
    """The committed versions, newest first."""
    rows = connection.execute(
        "SELECT * FROM membership WHERE collection_id = ? ORDER BY version_index DESC",
        (collection_id,),
    ).fetchall()
    found = []
    for row in rows:
        artifact = get_artifact(connection, row["artifact_id"])
        if artifact is not None and artifact.state == "COMMITTED":
            found.append((artifact, Membership.of(row)))
    return found


def memberships_of(connection: Connection, artifact_id: int) -> list[Membership]:
    rows = connection.execute(
        "SELECT * FROM membership WHERE artifact_id = ? ORDER BY id", (artifact_id,)
    )
    return [Membership.of(row) for row in rows]


def find_membership(connection: Connection, collection_id: int, alias: str) -> Membership | None:
    """The member that an alias or a version such as `v3` names; a deleted one has no name."""
    row = connection.execute(
        "SELECT membership.* FROM alias JOIN membership ON "
        "membership.collection_id = alias.collection_id "
        "AND membership.artifact_id = alias.artifact_id "
        "WHERE alias.collection_id = ? AND alias.alias = ?",
        (collection_id, alias),
    ).fetchone()
    version = _VERSION.fullmatch(alias)
    if row is None and version:
        row = connection.execute(
            "SELECT membership.* FROM membership JOIN artifact ON artifact.id = artifact_id "
            "WHERE collection_id = ? AND membership.version_index = ? AND state != 'DELETED'",
            (collection_id, int(version[1])),
        ).fetchone()
    return Membership.maybe(row)


def add_member(
    connection: Connection, collection: Collection, artifact_id: int, now: float
) -> Membership:
    """Put an artifact into a collection, as its next version unless it is there already."""
    known = connection.execute(
        "SELECT * FROM membership WHERE collection_id = ? AND artifact_id = ?",
        (collection.id, artifact_id),
    ).fetchone()
    if known is None:
        index = connection.execute(
            "SELECT ifnull(max(version_index) + 1, 0) FROM membership WHERE collection_id = ?",
            (collection.id,),
        ).fetchone()[0]
        member_id = insert(
            connection,
            "membership",
            collection_id=collection.id,
            artifact_id=artifact_id,
            version_index=index,
            created_at=now,
        )
        known = connection.execute("SELECT * FROM membership WHERE id = ?", (member_id,)).fetchone()
    return Membership.of(known)


def set_alias(connection: Connection, collection_id: int, artifact_id: int, alias: str) -> None:
    """Point an alias at a version; it leaves the version it was at."""
    if not alias or len(alias) > 128 or _VERSION.fullmatch(alias):
        if _VERSION.fullmatch(alias or ""):
            return  # v3 is a version, not an alias
        raise Refused(f"alias {alias!r}: use 1 to 128 characters")
    connection.execute(
        "DELETE FROM alias WHERE collection_id = ? AND alias = ?", (collection_id, alias)
    )
    insert(connection, "alias", collection_id=collection_id, artifact_id=artifact_id, alias=alias)


def aliases_of(
    connection: Connection, artifact_id: int, collection_id: int | None = None
) -> list[Alias]:
    rows = connection.execute(
        "SELECT * FROM alias WHERE artifact_id = ? AND (? IS NULL OR collection_id = ?) "
        "ORDER BY id",
        (artifact_id, collection_id, collection_id),
    )
    return [Alias.of(row) for row in rows]


def commit(connection: Connection, blobs: BlobStore, artifact: Artifact, now: float) -> Artifact:
    """Make a pending artifact the next version of its sequence. Committing twice changes nothing.

    Its manifest says which files it has; each must have been uploaded, now or for an earlier
    version. Raises Refused for a missing one.
    """
    if artifact.state == "COMMITTED":
        return artifact
    collection = get_collection(connection, artifact.sequence_id)
    assert collection is not None
    latest = latest_artifact(connection, collection.id)
    listing = settle_manifest(connection, blobs, artifact, latest.id if latest else None)
    files = [_file_of(connection, artifact, *entry) for entry in listing.contents.items()]
    connection.execute("DELETE FROM artifact_file WHERE artifact_id = ?", (artifact.id,))
    connection.executemany(
        "INSERT INTO artifact_file (artifact_id, name, md5, size, blob, reference) "
        "VALUES (:artifact_id, :name, :md5, :size, :blob, :reference)",
        ({"artifact_id": artifact.id, **file} for file in files),
    )
    member = add_member(connection, collection, artifact.id, now)
    update(
        connection,
        "artifact",
        artifact.id,
        state="COMMITTED",
        version_index=member.version_index,
        size=sum(file["size"] for file in files),
        file_count=len(files),
        updated_at=now,
        digest=listing.digest,
    )
    for alias in dict.fromkeys(["latest", *json.loads(artifact.pending_aliases)]):
        set_alias(connection, collection.id, artifact.id, alias)
    committed = get_artifact(connection, artifact.id)
    assert committed is not None
    return committed


def _file_of(
    connection: Connection, artifact: Artifact, name: str, entry: dict[str, Any]
) -> dict[str, Any]:
    digest, size = str(entry.get("digest", "")), read_int64(entry.get("size") or 0)
    check_file_name(name)
    reference = entry.get("ref")
    blob = None if reference else _find_content(connection, artifact, name, digest)
    if blob is None and not reference:
        raise Refused(f"artifact file {name!r} was not uploaded")
    return {"name": name, "md5": digest, "size": size, "blob": blob, "reference": reference}


def _find_content(connection: Connection, artifact: Artifact, name: str, digest: str) -> str | None:
    row = connection.execute(
        "SELECT blob FROM artifact_upload WHERE artifact_id = ? AND name = ? AND md5 = ? "
        "AND blob IS NOT NULL",
        (artifact.id, name, digest),
    ).fetchone()
    row = row or known_content(connection, artifact.sequence_id, digest)
    return None if row is None else str(row[0])


def known_content(connection: Connection, sequence_id: int, md5: str) -> Any:
    """(blob, size) of a content that this entity has uploaded before, or None."""
    return connection.execute(
        "SELECT blob.blob, blob.size FROM blob JOIN project ON project.entity = blob.entity "
        "JOIN collection ON collection.project_id = project.id "
        "WHERE collection.id = ? AND blob.md5 = ?",
        (sequence_id, md5),
    ).fetchone()


def list_files(
    connection: Connection, artifact_id: int, names: list[str] | None, offset: int, limit: int
) -> Page[ArtifactFile]:
    wanted = json.dumps(names) if names else None
    condition = "artifact_id = ? AND (? IS NULL OR name IN (SELECT value FROM json_each(?)))"
    values = (artifact_id, wanted, wanted)
    total = connection.execute(
        f"SELECT count(*) FROM artifact_file WHERE {condition}", values
    ).fetchone()[0]
    rows = connection.execute(
        f"SELECT * FROM artifact_file WHERE {condition} ORDER BY id LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return Page([ArtifactFile.of(row) for row in rows], total, offset)


def outputs_of(connection: Connection, run_id: int) -> list[Artifact]:
    rows = connection.execute(
        "SELECT * FROM artifact WHERE state = 'COMMITTED' AND (run_id = ? OR id IN "
        "(SELECT artifact_id FROM artifact_again WHERE artifact_again.run_id = ?)) ORDER BY id",
        (run_id, run_id),
    )
    return [Artifact.of(row) for row in rows]


def inputs_of(connection: Connection, run_id: int) -> list[Artifact]:
    rows = connection.execute(
        "SELECT artifact.* FROM artifact_use JOIN artifact ON artifact.id = artifact_id "
        "WHERE artifact_use.run_id = ? ORDER BY artifact.id",
        (run_id,),
    )
    return [Artifact.of(row) for row in rows]


def users_of(connection: Connection, artifact_id: int) -> list[Run]:
    rows = connection.execute(
        "SELECT run.* FROM artifact_use JOIN run ON run.id = artifact_use.run_id "
        "WHERE artifact_id = ? ORDER BY run.id",
        (artifact_id,),
    )
    return [Run.of(row) for row in rows]
