"""File contents on disk: written whole or not at all, named by their SHA-256.

A content is durable before anything refers to it. Names that clients choose never become paths.
"""

import base64
import contextlib
import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from agent.files import sync_directory

_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored content."""

    name: str  # its SHA-256 in hexadecimal digits
    size: int
    md5: str  # in base64, as the client sends it


class BlobStore:
    """The folder of contents."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self.is_suspect = True  # whether there may be contents that no row names
        self._arriving: Counter[str] = Counter()  # kept, but no row names them yet
        self._lock = Lock()

    def clear_leftovers(self) -> None:
        """Remove what a killed server was receiving; only for who holds the directory's lock."""
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)

    def take(self, name: str, arrived: Path) -> None:
        """Move a received content to its place, where it stays until `release` at least."""
        target = self.path_of(name)
        with self._lock:
            self._arriving[name] += 1
            if target.exists():
                arrived.unlink()
                return
            target.parent.mkdir(exist_ok=True)
            arrived.replace(target)
        sync_directory(target.parent)

    def release(self, blob: "Blob") -> None:
        """A row names the content now, or none ever will."""
        with self._lock:
            self._arriving[blob.name] -= 1
            self._arriving += Counter()  # without those that are at 0

    def keep_only(self, names: Set[str]) -> int:
        """Remove every other content that is not just arriving; how many went."""
        count = 0
        for path in self.root.glob("??/*"):
            with self._lock:
                if path.name not in names and not self._arriving[path.name]:
                    path.unlink(missing_ok=True)
                    count += 1
        return count

    def receive(self) -> "Receiver":
        """Start taking a content in."""
        return Receiver(self, self._incoming / secrets.token_hex(16))

    def path_of(self, name: str) -> Path:
        """Where a content lies. Raises ValueError for what is not a content's name."""
        if not _NAME.fullmatch(name):
            raise ValueError("not the name of a content")
        return self.root / name[:2] / name

    def read(self, name: str) -> bytes:
        return self.path_of(name).read_bytes()


class Receiver:
    """A content on its way in; call `keep` or `drop`."""

    def __init__(self, store: BlobStore, path: Path) -> None:
        self._store = store
        self._path = path
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        self._sha = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self._md5.update(data)
        self.size += len(data)

    @property
    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    def keep(self) -> Blob:
        """Make the content durable under its name. The store's `release` follows."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = self._sha.hexdigest()
        self._store.take(name, self._path)
        return Blob(name, self.size, self.md5)

    def drop(self) -> None:
        with contextlib.suppress(OSError):  # what is still buffered does not fit on a full disk
            self._file.close()
        self._path.unlink(missing_ok=True)
