"""Copies of a data directory: whole or recognisably unfinished, and a server that goes on."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from agent.cluster.job.server_task import note_problem, take_snapshot
from agent.cluster.submit.status import Report
from agent.cluster.submit.status_text import status_lines
from agent.errors import ServerError
from agent.server import backups
from agent.server.backups import back_up, check_is_whole, copy_into
from agent.server.data_dir import prepare
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Database
from tests.end_to_end.server_copies import KILLS, grow, state_of
from tests.end_to_end.test_full_disk import fill
from tests.end_to_end.test_full_disk import small_disk as small_disk
from tests.server.server_lab import KEY, Lab


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


@pytest.mark.parametrize("what", KILLS)
def test_a_killed_copy_or_migration_is_whole_or_refused(what: str, tmp_path: Path) -> None:
    found = KILLS[what](tmp_path, 5, random.Random(what))
    assert found["kills"] == 5
    assert found["broken"] == 0, found


def test_a_failed_snapshot_is_on_the_pages_and_in_status_until_one_succeeds(lab: Lab) -> None:
    data, shared = lab.services.database.path.parent, lab.services.database.path.parent / "shared"
    shared.write_text("in the way")
    lab.init("r")
    note_problem(data, take_snapshot(data, shared))
    page = lab.http.get("/local/p", auth=("api", KEY))
    assert page.status_code == 200
    assert "the server goes on, it is tried again" in page.text
    assert "goes on" not in lab.http.get("/login").text  # for those with a key only
    assert lab.http.get("/notice").status_code == 401
    words = lab.http.get("/notice", auth=("api", KEY)).json()["notice"]
    assert words.startswith("since 20")
    assert f"no snapshot in {shared}" in words
    assert status_lines(Report((), server_notice=words))[0] == f"server: {words}"
    since = words.split(": ")[0]
    note_problem(data, "no snapshot in elsewhere: it is still full")
    assert lab.services.notice() == f"{since}: no snapshot in elsewhere: it is still full"
    shared.unlink()
    note_problem(data, take_snapshot(data, shared))
    assert lab.services.notice() == ""
    assert "goes on" not in lab.http.get("/local/p", auth=("api", KEY)).text


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


@pytest.mark.parametrize("damage", ["missing", "empty", "foreign", "cut off"])
def test_a_directory_that_has_lost_its_database_is_refused(damage: str, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    database = data / "server.db"
    content = database.read_bytes()
    for path in data.glob("server.db*"):
        path.unlink()
    if damage == "cut off":
        database.write_bytes(content[: len(content) // 2])
    elif damage != "missing":
        database.write_bytes(b"" if damage == "empty" else b"x" * 5000)
    with pytest.raises(ServerError, match="bring the database back from a backup"):
        prepare(data)


def test_a_directory_that_others_can_change_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    data.chmod(0o777)
    with pytest.raises(ServerError, match=r"mode 0777.*chmod 700"):
        prepare(data)


def test_a_full_shared_disk_keeps_the_last_snapshot_and_no_leftovers(
    small_disk: Path, tmp_path: Path
) -> None:
    data, shared = make_data(tmp_path / "data"), small_disk / "shared"
    grow(data)
    copy_into(data, shared)
    before = state_of(shared)
    grow(data, contents=900)  # 36 MB
    fill(small_disk / "filler")
    for number in range(2):
        problem = take_snapshot(data, shared)
        assert problem is not None
        assert "No space left" in problem or "full" in problem
        there = shutil.copytree(shared, tmp_path / f"there{number}")  # SQLite needs room to read
        assert state_of(there) == before
        assert [path for path in shared.rglob(".*") if path.is_file()] == []
    (small_disk / "filler").unlink()
    for path in (data / "blobs").glob("??/*"):
        path.unlink()  # what no longer fits at all
    assert take_snapshot(data, shared) is None
