"""The SQLite file: durable transactions, snapshot reads, migrations.

Whatever a client gets as done is on disk before the answer: WAL with `synchronous=FULL` syncs
the log at every commit. One process holds the data directory, so writes take turns under one lock
and readers keep their own snapshots beside them.
"""

import os
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.errors import ServerError
from agent.server.refusals import Refused
from agent.server.store.budget import Budget
from agent.server.store.sql_functions import add_functions
from agent.server.store.tables import IDENTIFIED, MIGRATIONS

Connection = sqlite3.Connection
MAX_BATCH = 64
BUSY_S = 5.0  # how long a change waits for a program outside
BRIEF_S = 0.1
LOG_PAGES = 16_000  # of the log, at which a change moves them to the file; upkeep does so before
STEPS_PER_LOOK = 20_000  # of SQLite's machine, between two looks at the clock


class Turns:
    """A lock that serves its waiters first come, first served.

    A plain lock goes to whichever thread is running when it is freed, which is often the one that
    has just freed it: a large part written slice by slice could keep a heartbeat waiting.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()  # freed by the one before

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False

    def locked(self) -> bool:
        return self._is_held


class _Batch:
    """Changes that are committed together."""

    def __init__(self) -> None:
        self.size = 0
        self.settled = threading.Event()
        self.error: sqlite3.Error | None = None


class Database:
    """One data file, shared by the server's threads."""

    def __init__(
        self, path: Path, migrations: Sequence[str] = MIGRATIONS, *, may_migrate: bool = True
    ) -> None:
        """Open the file, made if it is new. Only who holds the directory's lock may migrate it.

        Raises ServerError for a version that cannot be used.
        """
        self.path = path
        self._turn = Turns()
        self._counting = threading.Lock()
        self._waiting = 0  # how many changes wait for their turn
        self._batch: _Batch | None = None  # the open transaction
        self._idle: list[Connection] = []
        self._idle_lock = threading.Lock()
        self._patience_s = BUSY_S
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._writer = self._connect()
        try:
            if may_migrate:
                migrate(self._writer, migrations)
            else:
                check_version(self._writer, migrations)
        except ServerError:
            self._writer.close()
            raise

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_S
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16000")
        add_functions(connection)
        return connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One atomic, durable change; nothing of it stays if the block raises.

        Changes that wait for each other are synced to disk together: each in a savepoint of its
        own, one commit for all of them. The block's caller goes on after that commit.
        """
        with self._counting:
            self._waiting += 1
        with self._turn:
            with self._counting:
                self._waiting -= 1
            batch = self._begin()
            try:
                self._writer.execute("SAVEPOINT one")
                try:
                    yield self._writer
                except BaseException as error:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK TO one")
                    else:  # a full disk: SQLite has undone the changes of the whole batch
                        batch.error = _cause(error)
                    raise
                finally:
                    if batch.error is None:
                        self._writer.execute("RELEASE one")
            finally:
                batch.size += 1
                with self._counting:
                    is_last = self._waiting == 0 or batch.size >= MAX_BATCH
                is_last = is_last or batch.error is not None
                if is_last:  # else the next one in turn commits for this one too
                    self._commit(batch)
        batch.settled.wait()
        if batch.error is not None:
            raise batch.error

    def _begin(self) -> "_Batch":
        """The open transaction, or a new one. Raises Refused while another program holds one."""
        if self._batch is None:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                self._set_patience(BRIEF_S)  # until it is over, writers give up soon
                raise Refused(
                    "another program holds the server's database open for writing (an sqlite3 "
                    "shell?): end its transaction; until then nothing is stored",
                    status=503,
                ) from None
            self._set_patience(BUSY_S)
            self._batch = _Batch()
        return self._batch

    def _set_patience(self, seconds: float) -> None:
        if seconds != self._patience_s:
            self._patience_s = seconds
            self._writer.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")

    def _commit(self, batch: "_Batch") -> None:
        self._batch = None
        try:
            if batch.error is None:
                self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            batch.error = error
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        finally:
            batch.settled.set()

    @contextmanager
    def read(self, budget: Budget | None = None) -> Iterator[Connection]:
        """One snapshot: what is read in the block belongs together.

        A query that goes on past the budget's time is broken off. Raises Refused then.
        """
        with self._reader() as connection:
            if budget is not None:
                connection.set_progress_handler(budget.is_late, STEPS_PER_LOOK)
            connection.execute("BEGIN")
            try:
                yield connection
            except sqlite3.OperationalError:
                if budget is not None:
                    budget.check()
                raise
            finally:
                connection.set_progress_handler(None, 0)
                connection.execute("ROLLBACK")

    def move_log(self) -> None:
        """Move what is committed from the log to the file, while others read and write: a change
        that did so itself would wait for the disk."""
        with self._reader() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    @contextmanager
    def _reader(self) -> Iterator[Connection]:
        """A connection for reading, kept for the next reader."""
        with self._idle_lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
        try:
            yield connection
        finally:
            with self._idle_lock:
                self._idle.append(connection)

    def close(self) -> None:
        with self._turn, self._idle_lock:
            for connection in [*self._idle, self._writer]:
                connection.close()
            self._idle.clear()


def _cause(error: BaseException) -> sqlite3.Error:
    """Why SQLite gave the transaction up."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, sqlite3.Error):
        found = found.__cause__ or found.__context__
    return found or sqlite3.OperationalError("database or disk is full")


def check_version(connection: Connection, migrations: Sequence[str]) -> None:
    """ServerError unless the file has the version of this program."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version != len(migrations):
        raise ServerError(
            f"the data directory has schema version {version} and is in use, but this program "
            f"works with version {len(migrations)}: use the program that the server runs, or "
            "restart the server with this one"
        )


def migrate(connection: Connection, migrations: Sequence[str]) -> None:
    """Bring the file to the newest schema version, one atomic step per version."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise ServerError(
            f"the data directory has schema version {version}, but this program knows versions up "
            f"to {len(migrations)}; use the newer program that wrote it"
        )
    for number in range(version, len(migrations)):
        script = f"BEGIN IMMEDIATE;{migrations[number]};PRAGMA user_version={number + 1};COMMIT;"
        try:
            connection.executescript(script)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise ServerError(f"migration to schema version {number + 1} failed: {error}") from None


def new_id(connection: Connection, kind: str) -> int:
    """An id that no row of this table has ever had, deleted ones included."""
    newest = f"(SELECT ifnull(max(id), 0) FROM {kind})"
    row = connection.execute(
        f"INSERT INTO identity VALUES (?, {newest} + 1) ON CONFLICT (kind) DO UPDATE "
        f"SET last = max(last, {newest}) + 1 RETURNING last",
        (kind,),
    ).fetchone()
    return int(row[0])


def leave_gap(connection: Connection) -> None:
    """Go on far above every id given out so far.

    A directory may have been brought back from a copy: ids that its lost part gave out stand in
    addresses and agents that are still about. Projects are left out: no address names them, and
    the client reads their ids as 32-bit numbers.
    """
    gap = 2**20 + secrets.randbelow(2**32)
    for kind in IDENTIFIED:
        new_id(connection, kind)
    connection.execute("UPDATE identity SET last = last + ? WHERE kind != 'project'", (gap,))


def insert(connection: Connection, table: str, **values: Any) -> int:
    """Add one row (names come from the code, values are bound) and return its id."""
    if table in IDENTIFIED:
        values = {"id": new_id(connection, table), **values}
    columns = ", ".join(values)
    marks = ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values())
    )
    return int(cursor.lastrowid or 0)


def update(connection: Connection, table: str, row_id: int, **values: Any) -> None:
    """Change the named columns of one row."""
    if values:
        pairs = ", ".join(f"{name} = ?" for name in values)
        connection.execute(f"UPDATE {table} SET {pairs} WHERE id = ?", (*values.values(), row_id))
