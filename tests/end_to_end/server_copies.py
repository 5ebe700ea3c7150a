"""kill -9 inside a backup, a snapshot, a restore and a migration: is what is left whole or refused?

Half of the kills come at a certain call of the program, spread over all of its calls; the other
half at a moment of its time, and so inside of SQLite and the system too.
"""

import contextlib
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.cluster.job.server_task import restore
from agent.errors import ServerError
from agent.server.backups import UNFINISHED, check_is_whole, copy_into
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Database, insert
from agent.server.store.tables import MIGRATIONS

CONTENTS = 6
LINES = 300
# Works on its arguments; kills itself at the call whose number is the first, if that is not 0.
_PROGRAM = """
import os, signal, sys
from pathlib import Path
from agent.cluster.job.server_task import restore, take_snapshot
from agent.server.backups import back_up
from agent.server.store.database import Database
kill_at, what, source, target = int(sys.argv[1]), *sys.argv[2:]
work = {
    "backup": lambda: back_up(Path(source), Path(target)),
    "snapshot": lambda: take_snapshot(Path(source), Path(target)),
    "restore": lambda: restore(Path(source), Path(target), 2),
    "migration": lambda: Database(Path(source) / "server.db").close(),
}[what]
calls = 0
def count(_frame, event, _argument):
    global calls
    calls += event in ("call", "c_call")
    if calls == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
if kill_at >= 0:
    sys.setprofile(count)
work()
sys.setprofile(None)
print(calls, flush=True)
"""


def grow(data: Path, contents: int = CONTENTS) -> None:
    """A run with lines and files that the database names."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database, blobs = Database(data / "server.db"), BlobStore(data / "blobs")
    with database.write() as connection:
        project = connection.execute("SELECT id FROM project").fetchone()
        times = {"created_at": 0, "updated_at": 0}
        project_id = (
            project[0]
            if project
            else insert(connection, "project", entity="local", name="p", **times)
        )
        run_id = insert(
            connection,
            "run",
            project_id=project_id,
            name=random.randbytes(4).hex(),
            state="finished",
            display_name="run",
            heartbeat_at=0,
            **times,
        )
        for number in range(LINES):
            insert(
                connection,
                "stream_line",
                run_id=run_id,
                stream="history",
                number=number,
                content=random.randbytes(60).hex(),
            )
        for number in range(contents):
            receiver = blobs.receive()
            receiver.write(random.randbytes(40_000))
            blob = receiver.keep()
            insert(
                connection,
                "run_file",
                run_id=run_id,
                name=f"f{number}",
                size=blob.size,
                md5=blob.md5,
                blob=blob.name,
                updated_at=0,
            )
            blobs.release(blob)
    database.close()


def state_of(data: Path) -> tuple[int, ...]:
    """How much a whole directory holds. Raises ServerError or AssertionError if it is not whole."""
    check_is_whole(data)
    with contextlib.closing(sqlite3.connect(data / "server.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("run", "stream_line", "run_file")
        ]
        for (name,) in connection.execute("SELECT blob FROM run_file"):
            content = (data / "blobs" / name[:2] / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == name
    return tuple(counts)


def kill_in(what: str, source: Path, target: Path, chance: random.Random, spread: "Spread") -> bool:
    """Run it once and kill it at a moment of its own; whether it was killed before its end."""
    by_call = chance.random() < 0.5
    kill_at = chance.randrange(1, spread.calls + 1) if by_call else -1
    words = [sys.executable, "-c", _PROGRAM, str(kill_at), what, str(source), str(target)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    if not by_call:
        time.sleep(chance.uniform(0, spread.seconds))
        process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


class Spread:
    """How long an operation takes, in calls and in seconds: the moments to kill it at."""

    def __init__(self, what: str, source: Path, target: Path) -> None:
        self.calls, self.seconds = self._run(0, what, source, target)[0], 0.0

    def time(self, what: str, source: Path, target: Path) -> "Spread":
        self.seconds = self._run(-1, what, source, target)[1]
        return self

    @staticmethod
    def _run(kill_at: int, what: str, source: Path, target: Path) -> tuple[int, float]:
        words = [sys.executable, "-c", _PROGRAM, str(kill_at), what, str(source), str(target)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            started = time.perf_counter()
            calls = int(process.stdout.readline())
        return calls, time.perf_counter() - started


def kill_backups(root: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    data = root / "data"
    grow(data)
    spread = Spread("backup", data, root / "one").time("backup", data, root / "two")

    def attempt(number: int) -> str:
        target = root / f"copy{number}"
        if not kill_in("backup", data, target, chance, spread):
            return "ended before"
        for left in root.glob(f".*.{UNFINISHED}.*"):
            with contextlib.suppress(ServerError):
                check_is_whole(left)
                return "an unfinished copy would be served"
        if target.exists():
            return "whole" if state_of(target) == state_of(data) else "differs"
        return "refused"

    return _tally(kills, attempt)


def kill_snapshots(root: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    data, copy = root / "data", root / "shared"
    grow(data)
    copy_into(data, copy)
    grow(data)
    spread = Spread("snapshot", data, copy)
    grow(data)
    spread.time("snapshot", data, copy)

    def attempt(_: int) -> str:
        before = state_of(copy)
        grow(data)
        if not kill_in("snapshot", data, copy, chance, spread):
            return "ended before"
        return "whole" if state_of(copy) in (before, state_of(data)) else "differs"

    return _tally(kills, attempt)


def kill_restores(root: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    data, shared, local = root / "data", root / "shared", root / "local"
    grow(data)
    copy_into(data, shared)
    spread = Spread("restore", shared, root / "a").time("restore", shared, root / "b")

    def attempt(number: int) -> str:
        grow(data)
        copy_into(data, shared)
        place = local / str(number)
        if number % 2:  # an older life has left something here
            restore(shared, place, 7)
        if not kill_in("restore", shared, place, chance, spread):
            return "ended before"
        restore(shared, place, 3)
        return "whole" if state_of(place) == state_of(shared) else "differs"

    return _tally(kills, attempt)


def kill_migrations(root: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    grow(root / "now")
    older = root / "older"
    older.mkdir(mode=0o700)
    _write_older(older / "server.db")

    def fresh(name: str) -> Path:
        place = root / name
        place.mkdir(mode=0o700)
        (place / "server.db").write_bytes((older / "server.db").read_bytes())
        return place

    spread = Spread("migration", fresh("a"), root).time("migration", fresh("b"), root)

    def attempt(number: int) -> str:
        place = fresh(str(number))
        if not kill_in("migration", place, root, chance, spread):
            return "ended before"
        Database(place / "server.db").close()
        with contextlib.closing(sqlite3.connect(place / "server.db")) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            rows = connection.execute("SELECT count(*) FROM point").fetchone()[0]
            whole = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return "whole" if (version, rows, whole) == (len(MIGRATIONS), 2000, True) else "differs"

    return _tally(kills, attempt)


def _write_older(path: Path) -> None:
    """A database of the first schema, with points whose digests the migrations make anew."""
    database = Database(path, MIGRATIONS[:1])
    with database.write() as connection:
        connection.execute("INSERT INTO project VALUES (1, 'local', 'p', '', '', '', 0, 0, 0)")
        connection.execute(
            "INSERT INTO sweep (id, project_id, name, config, state, created_at, updated_at) "
            "VALUES (1, 1, 's', '{}', 'RUNNING', 0, 0)"
        )
        connection.executemany(
            "INSERT INTO point (sweep_id, run_name, config, digest, status) "
            "VALUES (1, ?, ?, ?, 'open')",
            [(f"r{n}", f'{{"x": {n}.0}}', f"d{n}") for n in range(2000)],
        )
    database.close()


def _tally(kills: int, attempt: Callable[[int], str]) -> dict[str, Any]:
    """Attempts until there were enough kills before the end; what they left."""
    found: dict[str, int] = {"whole": 0, "refused": 0}
    done = number = 0
    while done < kills and number < 10 * kills:
        left = attempt(number)
        number += 1
        if left != "ended before":
            done += 1
            found[left] = found.get(left, 0) + 1
    return {"kills": done, **found, "broken": done - found["whole"] - found["refused"]}


KILLS = {
    "backup": kill_backups,
    "snapshot": kill_snapshots,
    "restore": kill_restores,
    "migration": kill_migrations,
}


def kill_copies(root: Path, kills: int, seed: int = 1) -> dict[str, dict[str, Any]]:
    """Figures of each operation."""
    chance = random.Random(seed)
    figures = {}
    for what, kill in KILLS.items():
        (root / what).mkdir()
        figures[what] = kill(root / what, kills, chance)
    return figures
