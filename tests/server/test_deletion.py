"""What deleting ends: addresses, contents on disk; and what nothing may change any more."""

import base64
import fcntl
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ServerError
from agent.server.app import _tidy
from agent.server.backups import back_up, contents_held
from agent.server.data_dir import open_database, sole_server
from agent.server.garbage import collect
from agent.server.store.database import Database, leave_gap, new_id
from agent.server.store.streams import drop_lines
from agent.server.store.tables import MIGRATIONS
from tests.server.server_lab import OWN, Lab

VERSION = {**OWN, "artifactTypeName": "t", "artifactCollectionName": "c"}


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def put(lab: Lab, url: str, content: bytes) -> int:
    return lab.http.put(url.removeprefix("http://127.0.0.1:1"), content=content).status_code


def get(lab: Lab, url: str) -> int:
    return lab.http.get(url.removeprefix("http://127.0.0.1:1")).status_code


def log_artifact(lab: Lab, content: bytes, **more: Any) -> tuple[str, str]:
    """(artifact's id, address of its manifest's upload)."""
    manifest = json.dumps(
        {"version": 1, "contents": {"a.bin": {"digest": md5(content), "size": len(content)}}}
    ).encode()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    artifact = create(lab, digest, **more)
    sent = file_address(lab, artifact, "a.bin", content)
    if sent:
        assert put(lab, sent, content) == 200
    given = {"artifactID": artifact, "name": "wandb_manifest.json", "digest": md5(manifest)}
    fields = "artifactManifest {id file {uploadUrl}}"
    made = lab.change("createArtifactManifest", fields, **given, **OWN, runName="", type="FULL")
    place = str(made["artifactManifest"]["file"]["uploadUrl"])
    assert put(lab, place, manifest) == 200
    lab.change("commitArtifact", "artifact {id state}", artifactID=artifact)
    return artifact, place


def create(lab: Lab, digest: str, **more: Any) -> str:
    given = {**VERSION, "digest": digest, **more}
    return str(lab.change("createArtifact", "artifact {id state}", **given)["artifact"]["id"])


def file_address(lab: Lab, artifact: str, name: str, content: bytes) -> str | None:
    """None for a content that the server has."""
    spec = {"artifactID": artifact, "name": name, "md5": md5(content)}
    fields = "files {edges {node {uploadUrl}}}"
    made = lab.change("createArtifactFiles", fields, artifactFiles=[spec])
    address: str | None = made["files"]["edges"][0]["node"]["uploadUrl"]
    return address


def contents(lab: Lab) -> set[str]:
    return {path.name for path in lab.services.blobs.root.glob("??/*")}


def delete(lab: Lab, artifact: str) -> None:
    lab.change("deleteArtifact", "artifact {id}", artifactID=artifact, deleteAliases=True)


def test_the_manifest_of_a_committed_artifact_is_never_changed(lab: Lab) -> None:
    _, place = log_artifact(lab, b"one")
    before = contents(lab)
    assert put(lab, place, b'{"contents": {}}') == 409
    collect(lab.services.database, lab.services.blobs)
    assert contents(lab) == before


def test_deleting_artifacts_runs_and_files_frees_the_disk(lab: Lab) -> None:
    first, _ = log_artifact(lab, b"only in the first")
    second, _ = log_artifact(lab, b"in the second")
    again, _ = log_artifact(lab, b"in the second", artifactCollectionName="other")
    lab.init("r")
    assert put(lab, lab.upload_path("r", "f.txt"), b"a file of the run") == 200
    assert len(contents(lab)) == 5  # three contents and two manifests
    delete(lab, first)
    _tidy(lab.services)
    assert len(contents(lab)) == 3
    delete(lab, second)
    _tidy(lab.services)
    assert len(contents(lab)) == 3  # the other artifact still has the content
    delete(lab, again)
    lab.delete_run("r")
    _tidy(lab.services)
    assert contents(lab) == set()


def test_a_pending_artifact_keeps_a_known_content_that_its_only_owner_loses(lab: Lab) -> None:
    content = b"shared by two versions"
    first, _ = log_artifact(lab, content)
    pending = create(lab, "d", artifactCollectionName="later")
    assert file_address(lab, pending, "b.bin", content) is None
    delete(lab, first)
    _tidy(lab.services)
    assert hashlib.sha256(content).hexdigest() in contents(lab)


def test_an_arriving_content_and_a_copy_being_made_are_left_alone(lab: Lab, tmp_path: Path) -> None:
    receiver = lab.services.blobs.receive()
    receiver.write(b"arriving")
    blob = receiver.keep()
    assert collect(lab.services.database, lab.services.blobs) == 0
    lab.services.blobs.release(blob)
    with contents_held(lab.services.blobs.root.parent, fcntl.LOCK_SH):
        assert collect(lab.services.database, lab.services.blobs) == 0
        assert contents(lab) == {blob.name}
    assert collect(lab.services.database, lab.services.blobs) == 1
    back_up(lab.services.blobs.root.parent, tmp_path / "copy")


def test_download_addresses_die_with_what_they_belong_to(lab: Lab) -> None:
    lab.init("r")
    assert put(lab, lab.upload_path("r", "f.txt"), b"content") == 200
    files = lab.run("r", "files {edges {node {directUrl}}}")["files"]["edges"]
    url = files[0]["node"]["directUrl"]
    artifact, _ = log_artifact(lab, b"content")  # the same content, of another owner
    named = lab.ask(
        "query Q($i: ID!) {artifact(id: $i) {currentManifest {file {directUrl}} "
        "files {edges {node {directUrl}}}}}",
        i=artifact,
    )["artifact"]
    addresses = [
        named["currentManifest"]["file"]["directUrl"],
        named["files"]["edges"][0]["node"]["directUrl"],
    ]
    assert [get(lab, address) for address in [url, *addresses]] == [200, 200, 200]
    lab.delete_run("r")
    assert [get(lab, address) for address in [url, *addresses]] == [404, 200, 200]
    delete(lab, artifact)
    assert [get(lab, address) for address in addresses] == [404, 404]


def test_a_directory_brought_back_from_a_copy_gives_out_no_id_of_its_lost_part(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "server.db")
    with database.write() as connection:
        saved = new_id(connection, "run")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        database._writer.backup(copy)
    copy.close()
    with database.write() as connection:
        lost = {new_id(connection, "run") for _ in range(100)}
    database.close()
    restored = Database(tmp_path / "copy.db")
    with restored.write() as connection:
        leave_gap(connection)
        fresh = {new_id(connection, "run") for _ in range(100)}
        assert new_id(connection, "project") < 2**31  # all that the client's own queries take
    restored.close()
    assert min(fresh) > saved
    assert not fresh & lost


def test_commands_migrate_a_database_only_where_no_server_runs(tmp_path: Path) -> None:
    Database(tmp_path / "server.db", MIGRATIONS[:-1]).close()
    with sole_server(tmp_path), pytest.raises(ServerError, match="restart the server"):
        open_database(tmp_path)
    with sqlite3.connect(tmp_path / "server.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) - 1
    connection.close()
    open_database(tmp_path).close()
    with sole_server(tmp_path):
        open_database(tmp_path).close()


def test_lines_of_deleted_runs_go_in_short_turns_and_are_never_seen(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.server.app.LINES_AT_ONCE", 10)
    for name in ("first", "second"):
        lab.init(name)
        lab.log(name, 0, [{"_step": n} for n in range(25)])
    lab.init("other", project="q")
    lab.log("other", 0, [{"_step": 0}], project="q")
    lab.delete_run("first")
    lab.init("first")
    assert lab.run("first", "historyLineCount history")["history"] == []
    with lab.services.database.write() as connection:
        connection.execute("DELETE FROM project WHERE name = 'p'")
        gone = connection.execute("SELECT count(*) FROM gone_run").fetchone()[0]
        assert gone == 3  # with what goes with its project
        assert drop_lines(connection, 10)
        lines = "SELECT count(*) FROM stream_line"
        assert connection.execute(lines).fetchone()[0] == 41
    _tidy(lab.services)
    with lab.services.database.read() as connection:
        assert connection.execute(lines).fetchone()[0] == 1
        assert connection.execute("SELECT count(*) FROM gone_run").fetchone()[0] == 0
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert len(lab.run("other", "history", project="q")["history"]) == 1
