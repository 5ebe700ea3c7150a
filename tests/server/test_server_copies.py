"""Copies of a data directory: whole or recognisably unfinished, and a server that goes on."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cluster.job.server_task import take_snapshot
from agent.errors import ServerError
from agent.server import backups
from agent.server.backups import back_up, check_is_whole, copy_into
from agent.server.data_dir import prepare
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Database


def make_data(directory: Path, contents: int = 3) -> Path:
    directory.mkdir(mode=0o700, parents=True)
    Database(directory / "server.db").close()
    store = BlobStore(directory / "blobs")
    for number in range(contents):
        receiver = store.receive()
        receiver.write(f"content {number}".encode())
        receiver.keep()
    return directory


def test_a_backup_holds_every_content_and_serves_as_it_is(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    assert back_up(data, tmp_path / "copy")[0] == 3
    prepare(tmp_path / "copy")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


KILLED = """
import os, sys
from pathlib import Path
from agent.server import backups
left = int(sys.argv[3])
def tick(*_):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
sys.setprofile(lambda frame, event, arg: tick() if event == "call" else None)
backups.back_up(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("calls", range(5, 230, 25))
def test_a_backup_that_is_killed_leaves_nothing_under_its_name(calls: int, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    target = tmp_path / "copy"
    command = [sys.executable, "-c", KILLED, str(data), str(target), str(calls)]
    done = subprocess.run(command, check=False, capture_output=True)
    if target.exists():
        check_is_whole(target)
        assert len(list((target / "blobs").glob("??/*"))) == 3
    else:
        assert done.returncode == 9
        for part in tmp_path.glob(".copy.*"):
            with pytest.raises(ServerError, match="not finished"):
                check_is_whole(part)


def test_a_snapshot_leaves_out_what_is_still_arriving(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    receiver = BlobStore(data / "blobs").receive()
    receiver.write(b"half")
    assert take_snapshot(data, tmp_path / "shared") is None
    receiver.drop()
    assert len(list((tmp_path / "shared" / "blobs").glob("??/*"))) == 3
    assert not (tmp_path / "shared" / "blobs" / "incoming").exists()


def test_a_snapshot_takes_every_change_of_every_database(tmp_path: Path) -> None:
    data, shared = make_data(tmp_path / "data"), tmp_path / "shared"
    ledger = sqlite3.connect(data / "sync.db")
    ledger.executescript("CREATE TABLE sent (n); INSERT INTO sent VALUES (1);")
    copy_into(data, shared)
    ledger.execute("UPDATE sent SET n = 2")  # the file keeps its size
    ledger.commit()
    ledger.close()
    copy_into(data, shared)
    with sqlite3.connect(shared / "sync.db") as copied:
        assert copied.execute("SELECT n FROM sent").fetchall() == [(2,)]


def test_a_snapshot_that_cannot_be_written_is_one_line_and_the_last_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, shared = make_data(tmp_path / "data"), tmp_path / "shared"
    copy_into(data, shared)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device", str(shared))

    monkeypatch.setattr(backups, "_copy_database", full)
    problem = take_snapshot(data, shared)
    assert problem is not None
    assert "No space left on device" in problem
    assert "goes on" in problem
    check_is_whole(shared)


@pytest.mark.parametrize("damage", ["missing", "empty", "foreign"])
def test_a_directory_that_has_lost_its_database_is_refused(damage: str, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    database = data / "server.db"
    for path in data.glob("server.db*"):
        path.unlink()
    if damage != "missing":
        database.write_bytes(b"" if damage == "empty" else b"x" * 5000)
    with pytest.raises(ServerError, match="bring the database back from a backup"):
        prepare(data)


def test_a_directory_that_others_can_change_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    data.chmod(0o777)
    with pytest.raises(ServerError, match=r"mode 0777.*chmod 700"):
        prepare(data)
