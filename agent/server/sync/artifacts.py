"""Artifacts on their way to another server: same contents, aliases, metadata and order."""

import json
import tempfile
from pathlib import Path
from typing import Any

from agent.errors import ServerError
from agent.server.store import artifacts as store
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection
from agent.server.store.manifests import current_manifest
from agent.server.store.records import Artifact, ArtifactFile, Project
from agent.server.store.runs import get_run
from agent.server.sync.destination import Destination, Tally
from agent.server.sync.remote import md5_of

_CREATE = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state } }
}"""
_MANIFEST = """
mutation CreateArtifactManifest($artifactID: ID!, $name: String!, $digest: String!,
    $entityName: String!, $projectName: String!, $runName: String!,
    $manifestType: ArtifactManifestType!, $includeUpload: Boolean!) {
  createArtifactManifest(input: {artifactID: $artifactID, name: $name, digest: $digest,
      entityName: $entityName, projectName: $projectName, runName: $runName,
      type: $manifestType}) {
    artifactManifest {
      id
      file {
        uploadUrl @include(if: $includeUpload)
        uploadHeaders @include(if: $includeUpload)
      }
    }
  }
}"""
_FILES = """
mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) {
    files { edges { node { uploadUrl uploadHeaders artifact { id } } } }
  }
}"""
_COMMIT = """
mutation CommitArtifact($artifactID: ID!) {
  commitArtifact(input: {artifactID: $artifactID}) { artifact { id } }
}"""
_USE = """
mutation UseArtifact($input: UseArtifactInput!) {
  useArtifact(input: $input) { artifact { id } }
}"""


def send_artifacts(
    connection: Connection, blobs: BlobStore, to: Destination, project: Project, tally: Tally
) -> None:
    """Send the project's versions in the order they were made, then who used them."""
    rows = connection.execute(
        "SELECT artifact.* FROM artifact JOIN collection ON collection.id = sequence_id "
        "WHERE collection.project_id = ? AND artifact.state = 'COMMITTED' "
        "ORDER BY artifact.sequence_id, artifact.version_index",
        (project.id,),
    ).fetchall()
    for artifact in map(Artifact.of, rows):
        if not to.ledger.note("artifact", artifact.id).get("committed"):
            _send(connection, blobs, to, project, artifact)
            tally.artifacts += 1
    uses = connection.execute(
        "SELECT artifact_use.* FROM artifact_use JOIN run ON run.id = run_id "
        "WHERE run.project_id = ?",
        (project.id,),
    ).fetchall()
    for use in uses:
        _send_use(connection, to, project, use)


def _send(
    connection: Connection, blobs: BlobStore, to: Destination, project: Project, artifact: Artifact
) -> None:
    made = to.remote.ask(_CREATE, input=_creation(connection, to, project, artifact))
    there = made["createArtifact"]["artifact"]
    if there["state"] != "COMMITTED":
        files = store.list_files(connection, artifact.id, None, 0, 10**6).items
        born = _send_files(blobs, to, there["id"], files)
        _send_manifest(connection, blobs, to, project, artifact, there["id"], born)
        to.remote.ask(_COMMIT, artifactID=there["id"])
    to.ledger.write("artifact", artifact.id, id=there["id"], committed=True)


def _run_name(connection: Connection, to: Destination, run_id: int | None) -> str | None:
    """The name of the run there; None when it was deleted here or there."""
    run = get_run(connection, run_id)
    return to.name_of(run) if run else None


def _creation(
    connection: Connection, to: Destination, project: Project, artifact: Artifact
) -> dict[str, Any]:
    sequence = store.get_collection(connection, artifact.sequence_id)
    assert sequence is not None
    aliases = store.aliases_of(connection, artifact.id, sequence.id)
    return {
        "entityName": to.entity,
        "projectName": project.name,
        "artifactTypeName": store.get_type(connection, sequence.type_id).name,
        "artifactCollectionName": sequence.name,
        "runName": _run_name(connection, to, artifact.run_id),
        "digest": artifact.digest,
        "description": artifact.description,
        "metadata": artifact.metadata,
        "historyStep": artifact.history_step,
        "aliases": [
            {"artifactCollectionName": sequence.name, "alias": alias.alias} for alias in aliases
        ],
        "enableDigestDeduplication": True,
        "clientID": artifact.client_id or f"sync-{project.name}-{artifact.id}",
        "sequenceClientID": sequence.client_id or f"sync-{project.name}-sequence-{sequence.id}",
    }


def _send_files(
    blobs: BlobStore, to: Destination, artifact_id: str, files: list[ArtifactFile]
) -> dict[str, str]:
    """Upload what the server there lacks; which artifact there each file was born in."""
    born: dict[str, str] = {}
    own = [file for file in files if file.blob]
    for start in range(0, len(own), 200):
        batch = own[start : start + 200]
        specs = [{"artifactID": artifact_id, "name": f.name, "md5": f.md5} for f in batch]
        answer = to.remote.ask(_FILES, input={"artifactFiles": specs, "storageLayout": "V2"})
        edges = answer["createArtifactFiles"]["files"]["edges"]
        for file, edge in zip(batch, edges, strict=True):
            node = edge["node"]
            born[file.name] = node["artifact"]["id"]
            if node["uploadUrl"]:
                assert file.blob is not None
                path = blobs.path_of(file.blob)
                to.remote.put(node["uploadUrl"], path, node["uploadHeaders"] or [])
    return born


def _send_manifest(
    connection: Connection,
    blobs: BlobStore,
    to: Destination,
    project: Project,
    artifact: Artifact,
    artifact_id: str,
    born: dict[str, str],
) -> None:
    """The stored manifest, with the births as they are over there."""
    manifest = current_manifest(connection, artifact.id)
    assert manifest is not None
    assert manifest.blob is not None
    content = json.loads(blobs.read(manifest.blob))
    for name, entry in content["contents"].items():
        if name in born:
            entry["birthArtifactID"] = born[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        answer = to.remote.ask(
            _MANIFEST,
            artifactID=artifact_id,
            name=manifest.name,
            digest=md5_of(path),
            entityName=to.entity,
            projectName=project.name,
            runName=_run_name(connection, to, artifact.run_id) or "",
            manifestType="FULL",
            includeUpload=True,
        )
        file = answer["createArtifactManifest"]["artifactManifest"]["file"]
        to.remote.put(file["uploadUrl"], path, file["uploadHeaders"] or [])


def _send_use(connection: Connection, to: Destination, project: Project, use: Any) -> None:
    """Say that a run used a version, unless one of the two was deleted there."""
    source = f"{use['run_id']}-{use['artifact_id']}"
    there = to.ledger.note("artifact", use["artifact_id"]).get("id")
    run_name = _run_name(connection, to, use["run_id"])
    if there is None or run_name is None or to.ledger.note("use", source):
        return
    try:
        to.remote.ask(
            _USE,
            input={
                "artifactID": there,
                "entityName": to.entity,
                "projectName": project.name,
                "runName": run_name,
                "usedAs": use["used_as"],
            },
        )
    except ServerError:
        if to.has_artifact(there) and to.find_run(project, run_name):
            raise
    to.ledger.write("use", source, done=True)
