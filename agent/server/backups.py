"""Copies of a data directory, taken while the server works: whole, or recognisably unfinished.

A backup is a new directory that gets its name only when all of it is there. A snapshot renews a
copy in place: contents are named by what they hold and never change, so they are added first, and
the database, which names them, replaces the older one last and in one step.
"""

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent import files
from agent.errors import Fault, ServerError, fault_of

DATABASE = "server.db"
MARK = "copy-complete"
UNFINISHED = "copy-unfinished"
OTHER_FILES = ("sync.db",)  # databases of their own beside the server's
_CONTENT = re.compile(r"[0-9a-f]{64}")


def back_up(data_dir: Path, target: Path) -> tuple[int, int]:
    """Copy a data directory to a new one; (files copied, bytes). A server can serve it as it is.

    Raises ServerError if the target exists, the source is not a data directory, or it cannot be
    written; nothing is left under the target's name then.
    """
    if not (data_dir / DATABASE).exists():
        raise ServerError(f"{data_dir} is not the data directory of a sweep server")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ServerError(f"{target} is not empty: give --to a new directory")
    unfinished = target.with_name(f".{target.name}.{UNFINISHED}.{files.unique_suffix()}")
    try:
        unfinished.mkdir(mode=0o700, parents=True)
        copied = copy_into(data_dir, unfinished)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # empty, as was seen above
        unfinished.rename(target)
        files.sync_directory(target.parent)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServerError(f"no backup at {target}: {reason}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return copied


def copy_into(data_dir: Path, copy: Path) -> tuple[int, int]:
    """Make `copy` what `data_dir` is now; (files, bytes) that it took. Raises OSError.

    Killed at any moment it leaves the copy as it was before, plus contents that nothing names yet.
    """
    copy.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contents_held(data_dir, fcntl.LOCK_SH):  # the server removes none meanwhile
        return _copy_all(data_dir, copy)


@contextlib.contextmanager
def contents_held(data_dir: Path, how: int) -> Iterator[None]:
    """Hold the contents, with copies (LOCK_SH) or to remove some (LOCK_EX). Raises OSError.

    The directory itself is locked: on a full disk no file could be made for it.
    """
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _copy_all(data_dir: Path, copy: Path) -> tuple[int, int]:
    _remove_leftovers(copy)
    try:
        return _copy_new(data_dir, copy)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_leftovers(copy)  # a full disk must not stay full of them
        raise


def _copy_new(data_dir: Path, copy: Path) -> tuple[int, int]:
    temporary = {
        name: _copy_database(data_dir / name, copy)
        for name in (DATABASE, *OTHER_FILES)
        if (data_dir / name).exists()
    }
    count = size = 0
    named = set()
    for path in sorted((data_dir / "blobs").glob("??/*")):
        if not _CONTENT.fullmatch(path.name):
            continue
        kept = copy / "blobs" / path.parent.name / path.name
        named.add(path.name)
        length = _copy_content(path, kept)
        if length is not None:
            count, size = count + 1, size + length
    for name, path in temporary.items():
        path.replace(copy / name)
    for path in (copy / "blobs").glob("??/*"):
        if path.name not in named:  # no row of this copy names it
            path.unlink(missing_ok=True)
    files.write_atomically(copy / MARK, "")
    return count, size


def check_is_whole(data_dir: Path) -> None:
    """ServerError when the directory has lost its database, or is a copy that was not finished."""
    database = data_dir / DATABASE
    way_back = "bring the database back from a backup, or start with an empty --data directory"
    if f".{UNFINISHED}." in data_dir.name:
        raise ServerError(f"{data_dir} is a backup that was not finished: {way_back}")
    has_lived = any((data_dir / name).exists() for name in ("server.json", MARK, "sync.db")) or any(
        (data_dir / "blobs").glob("??/*")
    )
    if not has_lived:
        return
    if not database.exists():
        raise ServerError(f"{database} is missing although a server has lived here: {way_back}")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            tables = opened.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.Error as error:
        if fault_of(error) is Fault.SITE:
            way_back = "is there room on its disk?"
        raise ServerError(f"{database} cannot be read ({error}): {way_back}") from None
    if not tables:
        raise ServerError(f"{database} is empty although a server has lived here: {way_back}")
    if _is_cut_off(database):
        raise ServerError(f"{database} is cut off: {way_back}")


def _is_cut_off(database: Path) -> bool:
    """Whether the file is shorter than its header says and no log has the rest."""
    log = database.with_name(f"{database.name}-wal")
    if log.exists() and log.stat().st_size:
        return False
    with database.open("rb") as file:
        header = file.read(100)
    page_size = int.from_bytes(header[16:18]) or 0
    pages = int.from_bytes(header[28:32])
    return database.stat().st_size < pages * (65_536 if page_size == 1 else page_size)


def _copy_database(source: Path, copy: Path) -> Path:
    """SQLite's own backup under a temporary name, durable, for its owner's eyes."""
    temporary = copy / f".{source.name}.{files.unique_suffix()}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        contextlib.closing(sqlite3.connect(source, timeout=60)) as opened,
        contextlib.closing(sqlite3.connect(temporary)) as target,
    ):
        opened.backup(target)
    files.sync_file(temporary)
    return temporary


def _copy_content(source: Path, target: Path) -> int | None:
    """Bytes copied; None when the content is there already, or is no longer needed."""
    if target.exists():
        return None
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{files.unique_suffix()}")
    try:
        shutil.copyfile(source, temporary)
    except FileNotFoundError:  # deleted since it was listed: no row names it any more
        temporary.unlink(missing_ok=True)
        return None
    temporary.chmod(0o600)
    files.sync_file(temporary)
    temporary.replace(target)
    return target.stat().st_size


def _remove_leftovers(copy: Path) -> None:
    """What a killed copy has left under temporary names."""
    for path in [*copy.glob(".*.db.*"), *copy.glob("blobs/??/.*")]:
        path.unlink(missing_ok=True)
