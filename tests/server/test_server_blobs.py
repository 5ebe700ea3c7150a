"""File contents: whole or absent, stored once, never outside."""

import base64
import hashlib
from pathlib import Path

import pytest

from agent.server.store.blobs import BlobStore
from tests.server.server_lab import KEY, OWN, Lab, mutation


def test_a_content_is_there_whole_or_not_at_all_and_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    given_up = store.receive()
    given_up.write(b"half")
    given_up.drop()
    blobs = []
    for _ in range(2):
        receiver = store.receive()
        receiver.write(b"con")
        receiver.write(b"tent")
        blobs.append(receiver.keep())
    blob = blobs[-1]
    assert {kept.name for kept in blobs} == {hashlib.sha256(b"content").hexdigest()}
    assert blob.size == 7
    assert blob.md5 == base64.b64encode(hashlib.md5(b"content").digest()).decode()
    assert store.read(blob.name) == b"content"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_leftovers_of_a_killed_server_are_cleared_by_the_next_one_only(tmp_path: Path) -> None:
    left = BlobStore(tmp_path).receive()
    left.write(b"half")
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    other = BlobStore(tmp_path)  # a command beside the server
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    other.clear_leftovers()
    assert list((tmp_path / "incoming").iterdir()) == []
    left.drop()


@pytest.mark.parametrize("name", ["", "..", "../server.db", "a" * 63, "A" * 64, "/" + "a" * 63])
def test_only_digests_name_contents(tmp_path: Path, name: str) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(ValueError, match="not the name of a content"):
        store.path_of(name)
    assert store.path_of("a" * 64) == tmp_path / "aa" / ("a" * 64)


COMMIT = mutation("commitArtifact", "artifact {id state}")


def create(lab: Lab, digest: str) -> str:
    given = {
        **OWN,
        "artifactTypeName": "model",
        "artifactCollectionName": "m",
        "digest": digest,
        "clientID": digest,
        "enableDigestDeduplication": True,
    }
    made, again = (
        lab.change("createArtifact", "artifact {id state}", **given)["artifact"] for _ in range(2)
    )
    assert made == again
    assert made["state"] == "PENDING"
    return str(made["id"])


def file_address(lab: Lab, artifact: str, md5: str) -> str | None:
    spec = {"artifactID": artifact, "name": "a.bin", "md5": md5}
    fields = "files {edges {node {uploadUrl artifact {id}}}}"
    found = lab.change("createArtifactFiles", fields, artifactFiles=[spec])["files"]
    address = found["edges"][0]["node"]["uploadUrl"]
    return None if address is None else str(address).replace("http://127.0.0.1:1", "")


def test_an_artifact_needs_its_manifest_and_every_file_and_right_digests(lab: Lab) -> None:
    artifact = create(lab, "d1")
    assert "no uploaded manifest" in lab.refused(COMMIT, i={"artifactID": artifact})
    fields = "artifactManifest {file {uploadUrl}}"
    given = {"artifactID": artifact, "name": "m.json", "digest": "x"}
    found = lab.change("createArtifactManifest", fields, **given)["artifactManifest"]
    address = found["file"]["uploadUrl"]
    md5 = base64.b64encode(hashlib.md5(b"weights").digest()).decode()
    manifest = {"contents": {"a.bin": {"digest": md5, "size": 7}}}
    answer = lab.http.put(address.replace("http://127.0.0.1:1", ""), json=manifest)
    assert answer.status_code == 200
    assert "was not uploaded" in lab.refused(COMMIT, i={"artifactID": artifact})
    upload = file_address(lab, artifact, md5)
    assert upload is not None
    assert lab.http.put(upload, content=b"other").status_code == 422
    assert "was not uploaded" in lab.refused(COMMIT, i={"artifactID": artifact})
    assert lab.http.put(upload, content=b"weights").status_code == 200
    for _ in range(2):
        done = lab.ask(COMMIT, i={"artifactID": artifact})["commitArtifact"]["artifact"]
        assert done["state"] == "COMMITTED"
    assert file_address(lab, create(lab, "d2"), md5) is None  # the content is here already
    assert lab.http.post("/graphql", json={"query": "{viewer {id}}"}, auth=("api", KEY)).is_success
