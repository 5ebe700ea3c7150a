"""Manifests: which files a version consists of, whole or as a change to an earlier version.

A client sends the full list, or (`incremental=True`, drafts) only what changes against a base
version, or (distributed artifacts) one part per process. At commit all three become one full
manifest, which is what readers get.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection, insert, new_id
from agent.server.store.records import Artifact, Manifest

FULL_NAME = "wandb_manifest.json"
Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a version by name, and the digest of that list."""

    contents: dict[str, Content]
    digest: str


def create_manifest(
    connection: Connection,
    artifact: Artifact,
    name: str,
    kind: str,
    digest: str,
    base_id: int | None,
) -> Manifest:
    """A place for a manifest that is about to be uploaded; the same again is the same place.

    The processes of a distributed artifact each get their own.
    """
    if kind == "PATCH":
        count = connection.execute(
            "SELECT count(*) FROM manifest WHERE artifact_id = ?", (artifact.id,)
        ).fetchone()[0]
        name = f"{name}.{count}"
    connection.execute(
        "INSERT INTO manifest (id, artifact_id, name, kind, digest, base_id) "
        "VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (artifact_id, name) DO UPDATE SET digest = excluded.digest",
        (new_id(connection, "manifest"), artifact.id, name, kind, digest, base_id),
    )
    row = connection.execute(
        "SELECT * FROM manifest WHERE artifact_id = ? AND name = ?", (artifact.id, name)
    ).fetchone()
    return Manifest.of(row)


def current_manifest(connection: Connection, artifact_id: int) -> Manifest | None:
    row = connection.execute(
        "SELECT * FROM manifest WHERE artifact_id = ? ORDER BY blob IS NULL, id DESC LIMIT 1",
        (artifact_id,),
    ).fetchone()
    return Manifest.maybe(row)


def settle_manifest(
    connection: Connection, blobs: BlobStore, artifact: Artifact, latest_id: int | None
) -> Listing:
    """The files of a version that is being committed; a partial manifest is completed first.

    Raises Refused if nothing was uploaded or it is not a W&B manifest.
    """
    rows = connection.execute(
        "SELECT * FROM manifest WHERE artifact_id = ? AND blob IS NOT NULL ORDER BY id",
        (artifact.id,),
    ).fetchall()
    sent = [Manifest.of(row) for row in rows]
    if not sent:
        raise Refused("the artifact has no uploaded manifest yet")
    last = _read(blobs, sent[-1])
    if sent[-1].kind == "FULL":
        return Listing(last["contents"], artifact.digest)
    contents: dict[str, Content] = {}
    if sent[-1].kind == "INCREMENTAL":
        base = current_manifest(connection, sent[-1].base_id or latest_id or 0)
        if base is None and sent[-1].base_id:
            raise Refused("the version that this one changes has been deleted: log it as a whole")
        contents |= _read(blobs, base)["contents"] if base is not None and base.blob else {}
        contents |= last["contents"]
    else:
        for part in sent:
            contents |= _read(blobs, part)["contents"]
    whole = {**last, "contents": contents}
    digest = digest_of(contents)
    receiver = blobs.receive()
    receiver.write(json.dumps(whole).encode())
    blob = receiver.keep()
    insert(
        connection,
        "manifest",
        artifact_id=artifact.id,
        name=FULL_NAME,
        kind="FULL",
        digest=blob.md5,
        blob=blob.name,
        size=blob.size,
    )
    blobs.release(blob)
    return Listing(contents, digest)


def _read(blobs: BlobStore, manifest: Manifest) -> dict[str, Any]:
    assert manifest.blob is not None
    whole: dict[str, Any] = {}
    try:
        whole = json.loads(blobs.read(manifest.blob))
        is_manifest = all(isinstance(entry, dict) for entry in whole["contents"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_manifest = False
    if not is_manifest:
        raise Refused("the artifact's manifest is not a W&B manifest")
    return dict(whole)


def digest_of(contents: dict[str, Content]) -> str:
    """The client's own digest of a list of files (wandb's ArtifactManifestV1)."""
    hasher = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for name, entry in sorted(contents.items()):
        hasher.update(f"{name}:{entry.get('digest')}\n".encode())
    return hasher.hexdigest()
