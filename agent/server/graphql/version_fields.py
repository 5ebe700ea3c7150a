"""Reading one artifact version: its description, manifest and files."""

from typing import Any

from agent.server.graphql.access import connection_of, slice_of
from agent.server.graphql.artifact_fields import files_of, tags_of
from agent.server.graphql.execution import Info, field
from agent.server.graphql.file_fields import artifact_file_node, download_url, upload_url
from agent.server.store import artifacts as store
from agent.server.store.manifests import current_manifest
from agent.server.store.records import Alias, Artifact, ArtifactType, Collection, Manifest
from agent.server.store.tokens import node_id

Found = dict[str, Any]
KEEP_FOREVER_S = -2  # the client's own code for "no time to live", inherited from the project


@field("Artifact", "artifactSequence")
def artifact_sequence(source: Artifact, info: Info) -> Collection | None:
    return store.get_collection(info.context.connection, source.sequence_id)


@field("Artifact", "artifactType")
def artifact_type(source: Artifact, info: Info) -> ArtifactType:
    sequence = store.get_collection(info.context.connection, source.sequence_id)
    assert sequence is not None
    return store.get_type(info.context.connection, sequence.type_id)


@field("Artifact", "ttlDurationSeconds")
def artifact_ttl(source: Artifact, _: Info) -> int:
    return KEEP_FOREVER_S if source.ttl_seconds is None else source.ttl_seconds


@field("Artifact", "ttlIsInherited")
def artifact_ttl_inherited(source: Artifact, _: Info) -> bool:
    return source.ttl_seconds is None


@field("Artifact", "tags")
def artifact_tags(source: Artifact, info: Info) -> list[Found]:
    return tags_of(info.context, "artifact", source.id)


@field("Artifact", "digestAlgorithm")
def artifact_digest_algorithm(source: Artifact, _: Info) -> str:
    return source.digest_algorithm or "MANIFEST_MD5"


@field("Artifact", "commitHash")
def artifact_commit_hash(source: Artifact, _: Info) -> str | None:
    return source.digest if source.state == "COMMITTED" else None


@field("Artifact", "aliases")
def artifact_aliases(source: Artifact, info: Info) -> list[Alias]:
    return store.aliases_of(info.context.connection, source.id)


@field("Artifact", "artifactMemberships")
def artifact_memberships(source: Artifact, info: Info) -> Found:
    members = store.memberships_of(info.context.connection, source.id)
    return connection_of(slice_of(members, {}))


@field("Artifact", "files")
def artifact_files(source: Artifact, info: Info, **arguments: Any) -> Found:
    return files_of(info.context, source.id, arguments)


@field("Artifact", "filesByManifestEntries")
def files_by_entries(
    source: Artifact, info: Info, entries: list[Found] | None = None, **_: Any
) -> Found:
    """One file per asked entry, in the order asked, because the client pairs them by place."""
    wanted = [entry["name"] for entry in entries or ()]
    page = store.list_files(info.context.connection, source.id, wanted, 0, 100_000)
    by_name = {file.name: file for file in page.items}
    nodes = [artifact_file_node(info.context, by_name[name]) for name in wanted if name in by_name]
    return connection_of(slice_of(nodes, {"first": len(nodes)}, len(nodes)))


@field("Artifact", "currentManifest")
def artifact_manifest(source: Artifact, info: Info) -> Manifest | None:
    return current_manifest(info.context.connection, source.id)


@field("ArtifactManifest", "file")
def manifest_file(source: Manifest, info: Info) -> Found:
    owner = ("artifact", source.artifact_id)
    url = download_url(info.context, source.blob, source.name, owner) if source.blob else None
    return {
        "id": node_id("ManifestFile", source.id),
        "name": source.name,
        "displayName": source.name,
        "directUrl": url,
        "url": url,
        "uploadUrl": upload_url(info.context, {"put": "manifest", "id": source.id}),
        "uploadHeaders": [],
        "sizeBytes": source.size,
    }
