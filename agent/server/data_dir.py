"""The data directory: where it may lie, and one server at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from agent.errors import ServerError
from agent.file_systems import are_locks_safe, file_system_of
from agent.server.backups import DATABASE, check_is_whole
from agent.server.store.database import Database


class InUse(ServerError):
    """Another process holds the directory's lock."""


def prepare(data_dir: Path) -> None:
    """Make the directory. Raises ServerError if it cannot be used safely."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"cannot make the data directory {data_dir}: {error.strerror}") from None
    kind = file_system_of(data_dir)
    check_is_whole(data_dir)
    _check_owner(data_dir)
    if not are_locks_safe(kind):
        raise ServerError(
            f"{data_dir} lies on {kind}, which cannot be locked safely; give --data a directory "
            "on a local disk and copy snapshots to shared storage with `sweep-agent backup`"
        )


def open_database(data_dir: Path) -> Database:
    """The database of a directory whose server may be running, for a command beside it.

    Raises ServerError where no server has run, or for a version that cannot be used.
    """
    path = data_dir / DATABASE
    if not path.exists():
        raise ServerError(
            f"no server has run on {data_dir} yet; start `sweep-agent serve --data {data_dir}`"
        )
    try:
        with sole_server(data_dir):
            return Database(path)
    except InUse:
        return Database(path, may_migrate=False)


def _check_owner(data_dir: Path) -> None:
    """ServerError when another user could read or change what lies here, keys included."""
    found = data_dir.stat()
    if found.st_uid != os.getuid():
        raise ServerError(
            f"{data_dir} belongs to user id {found.st_uid}, not to you: its owner could read the "
            "keys and change the runs; give --data a directory of your own"
        )
    if found.st_mode & 0o022:
        raise ServerError(
            f"{data_dir} can be changed by others (mode {found.st_mode & 0o777:04o}); "
            f"run: chmod 700 {data_dir}"
        )


@contextlib.contextmanager
def sole_server(data_dir: Path) -> Iterator[None]:
    """Hold the directory's lock. Raises ServerError if another server holds it."""
    path = data_dir / "server.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InUse(
                f"another server works on {data_dir}; stop it first, or use its address "
                f"(`sweep-agent env --data {data_dir}`)"
            ) from None
        yield
    finally:
        os.close(descriptor)
