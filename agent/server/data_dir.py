"""The data directory: one server at a time, and the note that says where it listens."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import ServerError

NOTE = "server.json"
# File systems on which locks or SQLite's shared memory are not reliable between machines.
UNSAFE_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "lustre", "beegfs", "gpfs", "cifs", "smb3", "smbfs", "9p", "afs", "ceph",
     "glusterfs", "orangefs", "panfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs",
     "fuse.rclone", "fuse.juicefs"}
)  # fmt: skip


@dataclass(frozen=True)
class ServerNote:
    """What clients on this machine need to reach the server."""

    url: str
    port: int
    entity: str
    key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables that point the wandb client here."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.key,
            "WANDB_ENTITY": self.entity,
            "WANDB_ERROR_REPORTING": "false",
        }


def read_note(data_dir: Path) -> ServerNote | None:
    """The note of the present or last server; None if there was none."""
    try:
        given = json.loads((data_dir / NOTE).read_text(encoding="utf-8"))
        return ServerNote(given["url"], given["port"], given["entity"], given["key"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        path = data_dir / NOTE
        raise ServerError(f"{path} is damaged: delete it and start the server again") from None


def write_note(data_dir: Path, note: ServerNote) -> None:
    """Replace the note in one step; only its owner may read it."""
    text = json.dumps(
        {"url": note.url, "port": note.port, "entity": note.entity, "key": note.key}, indent=1
    )
    write_private(data_dir / NOTE, text + "\n")


def write_private(path: Path, text: str) -> None:
    """An atomic, durable write of a file for its owner's eyes."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def prepare(data_dir: Path) -> None:
    """Make the directory. Raises ServerError if it cannot be used safely."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"cannot make the data directory {data_dir}: {error.strerror}") from None
    kind = file_system_of(data_dir, Path("/proc/self/mountinfo"))
    if kind in UNSAFE_FILE_SYSTEMS:
        raise ServerError(
            f"{data_dir} lies on {kind}, which cannot be locked safely; give --data a directory "
            "on a local disk and copy snapshots to shared storage with `sweep-agent backup`"
        )


def file_system_of(path: Path, mounts: Path) -> str | None:
    """The type of the file system that holds a path; None if the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = path.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if not separator or len(fields) < 5:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if target == point or point in target.parents:
            depth = len(point.parts)
            if best is None or depth >= best[0]:
                best = (depth, after.split()[0])
    return best[1] if best else None


@contextlib.contextmanager
def sole_server(data_dir: Path) -> Iterator[None]:
    """Hold the directory's lock. Raises ServerError if another server holds it."""
    path = data_dir / "server.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(
                f"another server works on {data_dir}; stop it first, or use its address "
                f"(`sweep-agent env --data {data_dir}`)"
            ) from None
        yield
    finally:
        os.close(descriptor)
