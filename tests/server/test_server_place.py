"""The data directory: notes, locks, migrations, keys, backup."""

import argparse
import io
import json
import sqlite3
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.errors import ConfigError, ServerError
from agent.file_systems import file_system_of
from agent.server.backups import back_up
from agent.server.commands import add_keys_arguments, run_env, run_keys
from agent.server.data_dir import prepare, sole_server
from agent.server.serving import Listening, bind
from agent.server.store.database import Database
from agent.server.store.tables import MIGRATIONS
from agent.server_note import ServerNote, read_note, write_note
from tests.server.server_lab import KEY, Lab

MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:40 / /shared rw - nfs4 server:/x rw
31 30 8:2 / /shared/fast\\040disk rw - xfs /dev/sdb rw
"""


def test_a_second_server_on_one_directory_is_refused(tmp_path: Path) -> None:
    second = sole_server(tmp_path)
    with sole_server(tmp_path), pytest.raises(ServerError, match="another server works on"):
        second.__enter__()
    with sole_server(tmp_path):
        pass


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path("/data"), mounts) == "ext4"
    assert file_system_of(Path("/shared/data"), mounts) == "nfs4"
    assert file_system_of(Path("/shared/fast disk/data"), mounts) == "xfs"
    assert file_system_of(Path("/data"), tmp_path / "absent") is None


def test_a_file_system_that_cannot_be_locked_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "fine")
    monkeypatch.setattr("agent.server.data_dir.file_system_of", lambda *_: "nfs4")
    with pytest.raises(ServerError, match=r"nfs4.*local disk.*sweep-agent backup"):
        prepare(tmp_path / "shared")


def test_the_note_is_private_and_hides_the_key(tmp_path: Path) -> None:
    note = ServerNote("http://127.0.0.1:1", 1, "local", KEY)
    write_note(tmp_path, note)
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    assert read_note(tmp_path) == note
    assert KEY not in repr(note)
    (tmp_path / "server.json").write_text("{")
    with pytest.raises(ServerError, match="damaged"):
        read_note(tmp_path)


def test_a_port_in_use_is_refused_and_the_last_one_is_taken_again() -> None:
    first = bind(Listening(port=0), None)
    first.listen()
    port = first.getsockname()[1]
    with pytest.raises(ServerError, match=r"cannot listen on 127.0.0.1:\d+.*--port"):
        bind(Listening(port=port), None)
    elsewhere = bind(Listening(port=0), port)
    assert elsewhere.getsockname()[1] != port
    elsewhere.close()
    first.close()
    again = bind(Listening(port=0), port)
    assert again.getsockname()[1] == port
    again.close()


def test_migrations_run_once_each_and_keep_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "server.db"
    Database(path).close()
    more = (*MIGRATIONS, "ALTER TABLE run ADD COLUMN mood TEXT DEFAULT 'good'")
    for _ in range(2):
        database = Database(path, more)
        with database.read() as connection:
            assert connection.execute("PRAGMA user_version").fetchone()[0] == len(more)
            assert connection.execute("SELECT count(mood) FROM run").fetchone()[0] == 0
        database.close()
    with pytest.raises(ServerError, match="newer program"):
        Database(path)
    with pytest.raises(ServerError, match="migration to schema version"):
        Database(path, (*more, "CREATE TABLE half (id); NONSENSE"))
    with sqlite3.connect(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "half" not in tables


def test_every_commit_is_synced_to_disk(lab: Lab) -> None:
    with lab.services.database.write() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_failed_write_leaves_nothing(lab: Lab) -> None:
    def fail_half_way() -> None:
        with lab.services.database.write() as connection:
            connection.execute("INSERT INTO meta VALUES ('a', 'b')")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    with lab.services.database.read() as connection:
        row = connection.execute("SELECT 1 FROM meta WHERE name = 'a'").fetchone()
    assert row is None


def test_changes_that_wait_for_each_other_are_synced_together(lab: Lab) -> None:
    """Each in a savepoint of its own: what fails among them leaves the others as they are."""
    database = lab.services.database
    said: list[str] = []
    database._writer.set_trace_callback(said.append)
    inside, free = threading.Event(), threading.Event()

    def change(name: str, waits: bool = False) -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO meta VALUES (?, ?)", (name, "x"))
            if waits:
                inside.set()
                assert free.wait(10)
            if name == "bad":
                raise ValueError(name)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(change, "first", True)
        assert inside.wait(10)
        others = [pool.submit(change, name) for name in ("second", "bad", "third")]
        while database._waiting < 3:
            time.sleep(0.001)
        free.set()
        for future in (first, others[0], others[2]):
            future.result(10)
        with pytest.raises(ValueError, match="bad"):
            others[1].result(10)
    with database.read() as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM meta")}
    assert names >= {"first", "second", "third"}
    assert "bad" not in names
    assert said.count("COMMIT") == 1


def test_a_backup_taken_while_the_server_works_can_be_served(lab: Lab, tmp_path: Path) -> None:
    lab.init("r")
    lab.log("r", 0, [{"_step": 0}])
    source = lab.services.database.path.parent
    receiver = lab.services.blobs.receive()
    receiver.write(b"content")
    blob = receiver.keep()
    target = tmp_path / "copy"
    assert back_up(source, target) == (1, 7)
    copied = Database(target / "server.db")
    with copied.read() as connection:
        assert connection.execute("SELECT name FROM run").fetchone()[0] == "r"
    copied.close()
    assert (target / "blobs" / blob.name[:2] / blob.name).read_bytes() == b"content"
    with pytest.raises(ServerError, match="not empty"):
        back_up(source, target)
    with pytest.raises(ServerError, match="not the data directory"):
        back_up(tmp_path / "nowhere", tmp_path / "other")


def keys(lab: Lab, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_keys_arguments(parser)
    data = str(lab.services.database.path.parent)
    return run_keys(parser.parse_args([words[0], "--data", data, *words[1:]]))


def test_keys_are_made_listed_and_revoked_while_the_server_runs(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert keys(lab, "add", "--entity", "team") == 0
    made = capsys.readouterr().out.strip()
    viewer = {"query": "{viewer {entity}}"}
    answer = lab.http.post("/graphql", json=viewer, auth=("api", made))
    assert answer.json()["data"]["viewer"]["entity"] == "team"
    given = "local-" + "g" * 40
    monkeypatch.setattr("sys.stdin", io.StringIO(given + "\n"))
    keys(lab, "add", "--entity", "team", "--label", "ci")
    assert given not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    keys(lab, "add", "--entity", "team", "--output", str(tmp_path / "key"))
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    keys(lab, "list")
    listing = capsys.readouterr().out
    assert "ci" in listing
    assert made not in listing
    keys(lab, "revoke", "3")
    assert lab.http.post("/graphql", json=viewer, auth=("api", made)).status_code == 401
    with pytest.raises(ServerError, match="no valid key number 3"):
        keys(lab, "revoke", "3")
    with pytest.raises(ConfigError, match=r"2 problems[\s\S]*40 letters[\s\S]*entity"):
        keys(lab, "add", "--entity", "no/slash", "--key", "short")
    text = lab.services.database.path.read_bytes()
    assert made.encode() not in text


def test_env_prints_exports_and_names_the_way_out_before_a_first_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(data=tmp_path)
    with pytest.raises(ServerError, match="start `sweep-agent serve"):
        run_env(args)
    write_note(tmp_path, ServerNote("http://127.0.0.1:1", 1, "local", KEY))
    run_env(args)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "export WANDB_BASE_URL=http://127.0.0.1:1"
    assert f"export WANDB_API_KEY={KEY}" in printed
    assert json.dumps(printed).count("export ") == 4
