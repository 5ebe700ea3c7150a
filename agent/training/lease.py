"""The lease: who may write a training.

The highest term (agent/takeover.py) holds the lease, and its holder raises a counter beside it. A
worker that sees the counter stand still for `patience_s` of its *own* clock may take the next
term, so no clocks are compared across machines; a holder that died on the same machine is noticed
at once by its process id. Taking over moves the old
term's staging directory away, so that an orphan's last rename fails: a fence, not a promise.
"""

import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from agent import files
from agent.errors import LeaseLost
from agent.takeover import Term, latest_number

BEAT_S = 3.0
PATIENCE_S = 30.0


class Lease:
    """A term that this process holds. Use `Observer.try_acquire`."""

    def __init__(self, term: Term, token: str, *, beat_s: float = BEAT_S) -> None:
        self._term = term
        self.token = token
        self.staging = _staging(term.directory, term.number)
        self._beat_s = beat_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def term(self) -> int:
        return self._term.number

    @property
    def _is_ours(self) -> bool:
        """False too when the training has been deleted."""
        return self._term.path.exists() and not self._term.is_over

    def start(self) -> None:
        self.staging.mkdir(exist_ok=True)
        self._thread.start()

    def check(self) -> None:
        """LeaseLost when another worker has taken over."""
        if not self._is_ours:
            name = self._term.directory.parent.name
            raise LeaseLost(f"{name}: another worker has taken this training over")

    def release(self) -> None:
        """Give the lease back, so that the next worker need not wait."""
        self._stopped.set()
        self._thread.join()
        if self._is_ours:
            _clear(self.staging)
            files.write_atomically(self._term.path.with_suffix(".released"), "")

    def _beat(self) -> None:
        count = 0
        while not self._stopped.wait(self._beat_s if count else 0):
            count += 1
            try:
                files.write_atomically(self._term.path.with_suffix(".beat"), str(count))
            except OSError:
                continue  # a full or briefly absent file system: the next beat may succeed


class Observer:
    """Watches a training's lease and says when it may be taken."""

    def __init__(
        self,
        training: Path,
        *,
        patience_s: float = PATIENCE_S,
        beat_s: float = BEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = training / "lease"
        self._patience_s = patience_s
        self._beat_s = beat_s
        self._clock = clock
        self._seen: tuple[int, str] | None = None
        self._since = 0.0
        self._moved = False

    def is_vacant(self) -> bool:
        """Whether the lease is free, released, or its holder dead, as far as is known by now."""
        term = self._latest()
        return not term.number or self._is_vacant(term)

    def is_certainly_held(self) -> bool:
        """Whether its holder gave a sign of life: lives on this machine, or moved its counter."""
        holder = _read_json(self._latest().path)
        return self._moved or (_is_of_here(holder) and not self.is_vacant())

    def try_acquire(self) -> Lease | None:
        """The lease if it is free, released or its holder is dead; else None."""
        self._directory.mkdir(parents=True, exist_ok=True)
        before = self._latest()
        if before.number and not self._is_vacant(before):
            return None
        token = f"{before.number + 1}-{secrets.token_hex(8)}"
        holder = {"token": token, **_process_identity()}
        term = Term.take_after(self._directory, before.number, holder)
        if term is None:
            return None  # another worker was faster
        _fence_off(_staging(self._directory, before.number))
        lease = Lease(term, token, beat_s=self._beat_s)
        lease.start()
        return lease

    def _latest(self) -> Term:
        """The term that counts now; its number is 0 when none was ever taken."""
        return Term(self._directory, latest_number(self._directory))

    def _is_vacant(self, term: Term) -> bool:
        if term.path.with_suffix(".released").exists():
            return True
        if _is_dead_here(_read_json(term.path)):
            return True
        seen = (term.number, _read_text(term.path.with_suffix(".beat")))
        now = self._clock()
        if seen != self._seen:
            self._moved = self._seen is not None
            self._seen, self._since = seen, now
            return False
        return now - self._since >= self._patience_s


def is_held(training: Path) -> bool:
    """True unless the training's lease is free, released or its holder died on this machine."""
    return not Observer(training).is_vacant()


def watch(
    trainings: Iterable[Path],
    *,
    patience_s: float = PATIENCE_S,
    on_wait: Callable[[int, float], None] | None = None,
) -> dict[Path, Observer]:
    """Observers of the trainings without a writer, ready to acquire their leases.

    Returns at once unless a lease is held on another machine and its holder gives no sign of life;
    such leases are watched together, for `patience_s`; `on_wait` gets how many, once.
    """
    observers = {path: Observer(path, patience_s=patience_s) for path in trainings}
    vacant: dict[Path, Observer] = {}
    while True:
        for path, observer in list(observers.items()):
            if observer.is_vacant():
                vacant[path] = observers.pop(path)
            elif observer.is_certainly_held():
                del observers[path]
        if not observers:
            return vacant
        if on_wait:
            on_wait(len(observers), patience_s)
            on_wait = None
        time.sleep(min(1.0, patience_s / 10))


def _process_identity() -> dict[str, str | int]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "space": _process_space(), "pid": pid, "born": _born(pid)}


def _process_space() -> str:
    """Where a process id means something: one boot of one machine, one container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """The start time of a process, in ticks since boot; empty when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


def _is_dead_here(holder: dict[str, object]) -> bool:
    """True only when the holder ran on this very machine and is certainly gone."""
    return _is_of_here(holder) and _born(int(str(holder.get("pid", 0)))) != holder.get("born")


def _is_of_here(holder: dict[str, object]) -> bool:
    space = _process_space()
    return bool(space) and (holder.get("host"), holder.get("space")) == (
        socket.gethostname(),
        space,
    )


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _staging(directory: Path, number: int) -> Path:
    return directory.parent / f"writing-{number:04d}"


def _fence_off(staging: Path) -> None:
    """Take the old holder's staging directory away: whatever it still writes lands nowhere."""
    fenced = staging.with_name(f"fenced-{staging.name}-{secrets.token_hex(4)}")
    try:
        staging.rename(fenced)
    except FileNotFoundError:
        return
    _clear(fenced)


def _clear(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
