"""Files that matter: written whole or not at all, and on the disk before they are announced."""

import hashlib
import json
import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content` so that no reader, and no crash, ever sees a part of it."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{unique_suffix()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: object, *, mode: int = 0o644) -> None:
    write_atomically(path, json_text(value), mode=mode)


def json_text(value: object) -> str:
    """How a JSON file of ours looks, to the byte."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def create_exclusively(path: Path, content: str) -> bool:
    """Create `path` with its whole content unless it exists; False when it does.

    A hard link of a finished file is atomic on local file systems and on NFS alike.
    """
    temporary = path.with_name(f".{path.name}.{unique_suffix()}")
    temporary.write_text(content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames inside `path` durable."""
    sync_file(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unique_suffix() -> str:
    """A name that no other process on any machine is using."""
    return f"{os.getpid()}-{secrets.token_hex(6)}"


def check_writable(directory: Path, size: int = 64 * 1024) -> None:
    """OSError unless `size` bytes can be written there and reach the disk."""
    path = directory / f".probe.{unique_suffix()}"
    try:
        with path.open("wb") as stream:
            stream.write(os.urandom(size))
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        path.unlink(missing_ok=True)
