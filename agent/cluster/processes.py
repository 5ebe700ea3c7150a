"""What runs below the supervisor, read from /proc: which grid point an agent is working on.

`wandb agent` does not say which process runs a grid point; the kernel does. The agent starts the
program in a process group of its own, inside the agent's session, with WANDB_RUN_ID set.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class GridPointProcess:
    """A process that works on one grid point, and what is needed to start it again."""

    pid: int
    run_id: str
    sweep_id: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)  # may hold the API key
    directory: str = ""


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that are needed here."""

    state: str
    parent: int
    group: int
    session: int


def read_stat(pid: int, proc: Path = PROC) -> Stat | None:
    """None when there is no such process."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    state, parent, group, session = text.rpartition(")")[2].split()[:4]  # a name may hold spaces
    return Stat(state, int(parent), int(group), int(session))


def is_running(pid: int, proc: Path = PROC) -> bool:
    """False for a process that is gone, and for one that has ended and waits for its parent."""
    stat = read_stat(pid, proc)
    return stat is not None and stat.state not in ("Z", "X")


def children_of(pid: int, proc: Path = PROC) -> list[int]:
    """Direct children, from the kernel's list where it keeps one, else by looking at everything."""
    try:
        tasks = list((proc / str(pid) / "task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        pids = (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
        return [p for p in pids if (stat := read_stat(p, proc)) is not None and stat.parent == pid]


def descendants_of(pid: int, proc: Path = PROC) -> list[int]:
    """All processes below `pid`, parents first."""
    found: list[int] = []
    waiting = children_of(pid, proc)
    while waiting:
        child = waiting.pop(0)
        found.append(child)
        waiting += children_of(child, proc)
    return found


def grid_points_below(pid: int, proc: Path = PROC) -> list[GridPointProcess]:
    """The grid points that an agent has running."""
    parent = read_stat(pid, proc)
    if parent is None:
        return []
    points = (_grid_point(child, parent.session, proc) for child in children_of(pid, proc))
    return [point for point in points if point is not None]


def _grid_point(pid: int, session: int, proc: Path) -> GridPointProcess | None:
    stat = read_stat(pid, proc)
    if stat is None or stat.state in ("Z", "X") or stat.group != pid or stat.session != session:
        return None  # a helper of the wandb client, or the program has just ended
    try:
        words = (proc / str(pid) / "environ").read_bytes().decode(errors="surrogateescape")
        argv = (proc / str(pid) / "cmdline").read_bytes().decode(errors="surrogateescape")
        directory = str((proc / str(pid) / "cwd").readlink())
    except OSError:
        return None
    environment = dict(w.split("=", 1) for w in words.split("\0") if "=" in w)
    if "WANDB_RUN_ID" not in environment or not argv:
        return None
    return GridPointProcess(
        pid=pid,
        run_id=environment["WANDB_RUN_ID"],
        sweep_id=environment.get("WANDB_SWEEP_ID", ""),
        argv=tuple(argv.rstrip("\0").split("\0")),
        environment=environment,
        directory=directory,
    )


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process has already gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def adopt_orphans() -> None:
    """Make this process the parent of what a killed child leaves behind, so nothing is lost sight
    of. Linux only; elsewhere orphans go to init as usual.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(known: set[int]) -> None:
    """Collect ended children without another waiter; `known` are waited for by their owners."""
    for pid in children_of(os.getpid()):
        stat = read_stat(pid)
        if pid not in known and stat is not None and stat.state == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
