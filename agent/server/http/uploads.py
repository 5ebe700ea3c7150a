"""What becomes of an uploaded content: it is made durable, then its row points to it."""

import mimetypes
from typing import Any

from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.artifacts import get_artifact, get_collection
from agent.server.store.blobs import Blob, Receiver
from agent.server.store.database import Connection, new_id, update
from agent.server.store.projects import get_project


def accept_upload(services: Services, grant: dict[str, Any], receiver: Receiver) -> None:
    """Keep the content for what the signed address was made for. Raises Refused."""
    expected = _expected_digest(services, grant)
    if expected is not None and receiver.md5 != expected:
        raise Refused("the content differs from its announced MD5 digest", status=422)
    blob = receiver.keep()
    try:
        with services.database.write() as connection:
            match grant["put"]:
                case "run_file":
                    _keep_run_file(connection, grant, blob, services.clock())
                case "manifest":
                    _keep_manifest(connection, grant["id"], blob)
                case "artifact":
                    _keep_artifact_file(connection, grant["id"], blob)
        if grant["put"] == "run_file":
            services.blobs.is_suspect = True  # it may have replaced another
    finally:
        services.blobs.release(blob)


def _keep_manifest(connection: Connection, manifest_id: int, blob: Blob) -> None:
    """Refused once the version is committed: what it consists of never changes then."""
    row = connection.execute(
        "SELECT manifest.blob, artifact.state FROM manifest JOIN artifact "
        "ON artifact.id = artifact_id WHERE manifest.id = ?",
        (manifest_id,),
    ).fetchone()
    if row is None:
        raise Refused("the artifact of this upload is gone", status=404)
    if row["blob"] == blob.name:
        return  # the same, sent again
    if row["state"] != "PENDING":
        raise Refused("the artifact is committed: its manifest cannot be changed", status=409)
    update(connection, "manifest", manifest_id, blob=blob.name, size=blob.size)


def _expected_digest(services: Services, grant: dict[str, Any]) -> str | None:
    if grant["put"] != "artifact":
        return None
    with services.database.read() as connection:
        row = connection.execute(
            "SELECT md5 FROM artifact_upload WHERE id = ?", (grant["id"],)
        ).fetchone()
    if row is None:
        raise Refused("the artifact of this upload is gone", status=404)
    return str(row[0])


def _keep_run_file(connection: Connection, grant: dict[str, Any], blob: Blob, now: float) -> None:
    exists = connection.execute("SELECT 1 FROM run WHERE id = ?", (grant["run"],)).fetchone()
    if not exists:
        raise Refused("the run of this upload is gone", status=404)
    connection.execute(
        "INSERT INTO run_file (id, run_id, name, size, md5, blob, mimetype, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, name) DO UPDATE SET "
        "size = excluded.size, md5 = excluded.md5, blob = excluded.blob, "
        "updated_at = excluded.updated_at",
        (
            new_id(connection, "run_file"),
            grant["run"],
            grant["name"],
            blob.size,
            blob.md5,
            blob.name,
            mimetypes.guess_type(grant["name"])[0],
            now,
        ),
    )


def _keep_artifact_file(connection: Connection, upload_id: int, blob: Blob) -> None:
    row = connection.execute(
        "SELECT artifact_id FROM artifact_upload WHERE id = ?", (upload_id,)
    ).fetchone()
    artifact = get_artifact(connection, row["artifact_id"]) if row else None
    collection = get_collection(connection, artifact.sequence_id) if artifact else None
    if collection is None:
        raise Refused("the artifact of this upload is gone", status=404)
    assert artifact is not None
    if artifact.state != "PENDING":
        return  # what it has is there already
    entity = get_project(connection, collection.project_id).entity
    update(connection, "artifact_upload", upload_id, blob=blob.name, size=blob.size)
    connection.execute(
        "INSERT OR REPLACE INTO blob (entity, md5, blob, size) VALUES (?, ?, ?, ?)",
        (entity, blob.md5, blob.name, blob.size),
    )
