"""An Optuna journal that survives what a cluster does to a shared file.

A worker killed in the middle of a write leaves a torn last line, the next writer's record runs
into it, and from then on every reader fails. Here the torn bytes are blanked under the lock, in
place: blanks before a record are still JSON, nothing moves, so no reader's offset breaks (Optuna's
own reader and its dashboard included), and doing it twice does no harm.
"""

import hashlib
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from agent.errors import StudyError

GRACE_S = 30.0  # a lock that stays the same for so long belongs to a dead or stalled worker
LITTER_AGE_S = 24 * 3600.0  # no process waits for a lock that long
LONGEST_WAIT_S = 0.02  # between two tries; Optuna's own lock backs off to 1 s and gets slow tails

# A record that changes nothing: an attribute of a study that does not exist.
_NOTHING = {"op_code": 2, "worker_id": "", "study_id": -1, "user_attr": {"damaged": 1}}


class JournalLock:
    """The open-file lock of Optuna (same file, made exclusively), with short waits and an owner.

    The file appears with its owner's token in it, by a link. So a lock whose owner was killed on
    this machine is taken over at once; one from elsewhere when it stayed the same for the grace.
    A holder that stalled beyond the grace loses the lock, and by its token it then knows better
    than to remove the lock of the process that took over.
    """

    def __init__(self, journal: Path, grace_s: float = GRACE_S) -> None:
        self._path = Path(f"{journal}.lock")
        self._grace_s = grace_s
        self._token = b""

    def acquire(self) -> None:
        self._token = f"{_process_space()} {os.getpid()} {uuid.uuid4().hex}".encode()
        # The name contains the owner too: a worker may be killed before it has written its token.
        own = Path(f"{self._path}.{_space_digest()}-{os.getpid()}-{uuid.uuid4().hex}")
        own.write_bytes(self._token)
        try:
            self._wait_for_link(own)
        finally:
            own.unlink(missing_ok=True)

    def _wait_for_link(self, own: Path) -> None:
        wait_s, seen, since = 0.0005, None, time.monotonic()
        while True:
            try:
                os.link(own, self._path)
                return
            except FileExistsError:
                pass
            if (now := _identity(self._path)) != seen:
                seen, since = now, time.monotonic()
            elif seen is not None and (
                time.monotonic() - since > self._grace_s or _is_owner_dead(self._path)
            ):
                self._reclaim(seen)
            time.sleep(wait_s * random.uniform(0.5, 1.5))
            wait_s = min(wait_s * 1.5, LONGEST_WAIT_S)

    def release(self) -> None:
        with suppress(FileNotFoundError):  # taken over and released by another process
            if self._path.read_bytes() == self._token:
                self._path.unlink()

    def sweep(self) -> None:
        """Remove what workers left that were killed while they waited for the lock."""
        for own in self._path.parent.glob(f"{self._path.name}.*"):
            with suppress(OSError):
                is_old = time.time() - own.stat().st_mtime > LITTER_AGE_S
                if is_old or _is_owner_dead(own) or _is_named_owner_dead(own):
                    own.unlink()

    def _reclaim(self, seen: tuple[int, int]) -> None:
        """Remove the lock that was `seen`; a fresh one that came in between is put back."""
        aside = Path(f"{self._path}.{uuid.uuid4().hex}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        if _identity(aside) != seen:
            with suppress(FileExistsError):
                os.link(aside, self._path)
        aside.unlink()


def _process_space() -> str:
    """What process ids mean something in: this machine since it started, this namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def _space_digest() -> str:
    return hashlib.sha256(_process_space().encode()).hexdigest()[:12]


def _is_named_owner_dead(own: Path) -> bool:
    """The same as `_is_owner_dead`, from the name of a file that a waiting worker made."""
    space, _, rest = own.name.rpartition(".")[2].partition("-")
    pid = rest.partition("-")[0]
    return space == _space_digest() and pid.isdigit() and _is_gone(int(pid))


def _is_owner_dead(lock: Path) -> bool:
    """Whether the lock belongs to a process of this machine that has ended."""
    try:
        space, pid, _ = lock.read_text().split(" ")
        return space == _process_space() and _is_gone(int(pid))
    except (OSError, ValueError):  # gone by now, or another program's lock
        return False


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, but not ours to ask
        return False
    return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


class JournalFile(BaseJournalBackend):
    """A file of JSON lines that many processes append to, on one machine or over NFS."""

    def __init__(self, path: Path, grace_s: float = GRACE_S) -> None:
        if not path.is_absolute():
            raise StudyError(f"the pruning journal {path} must be an absolute path")
        self._path = path
        self._lock = JournalLock(path, grace_s)
        self._offsets = [0]  # where record n starts
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=True)
            self._lock.sweep()
        except OSError as error:
            raise StudyError(
                f"the pruning journal {path} cannot be made: {error.strerror}"
            ) from None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on; a line that is not a record counts as an empty one."""
        number = min(log_number_from, len(self._offsets) - 1)
        with self._path.open("rb") as journal:
            journal.seek(self._offsets[number])
            for line in journal:
                if not line.endswith(b"\n"):
                    return  # torn, or still being written
                number += 1
                if number == len(self._offsets):
                    self._offsets.append(self._offsets[-1] + len(line))
                if number > log_number_from:
                    yield _record(line) or dict(_NOTHING)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        try:
            self._lock.acquire()
            try:
                head = self._mend_tail()
                with self._path.open("ab", buffering=0) as journal:
                    _write_all(journal.fileno(), head + b"".join(lines))
            finally:  # closing has sent the records to the server, where the file is on one
                self._lock.release()
            self._make_durable()
        except OSError as error:
            text = f"the pruning journal {self._path} cannot be written: {error.strerror}"
            raise StudyError(text) from None

    def _make_durable(self) -> None:
        """Wait for the disk, after the lock is free: that of one writer then serves all."""
        with self._path.open("rb") as journal:
            os.fsync(journal.fileno())

    def _mend_tail(self) -> bytes:
        """Make the end of the file fit for a new record; call it under the lock.

        Returns what has to precede the record: a newline where only that was lost.
        """
        with self._path.open("r+b", buffering=0) as journal:
            tail = _unfinished_line(journal.fileno())
            if not tail:
                return b""
            if _record(tail) is not None:
                return b"\n"
            end = os.fstat(journal.fileno()).st_size
            os.pwrite(journal.fileno(), b" " * len(tail), end - len(tail))
            os.fsync(journal.fileno())
            return b""


def _unfinished_line(handle: int) -> bytes:
    """The bytes after the last newline."""
    end = os.fstat(handle).st_size
    start = end
    tail = b""
    while start > 0:
        step = min(4096, start)
        start -= step
        tail = os.pread(handle, step, start) + tail
        if (newline := tail.rfind(b"\n")) >= 0:
            return tail[newline + 1 :]
    return tail


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "op_code" in value else None


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
