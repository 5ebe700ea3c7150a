"""`python -m agent.cluster.job.server_task`: the sweep server as a Slurm job that may be moved.

Data on the node's own disk; a snapshot on shared storage every minute and at the end; the note
with the address on shared storage for the agents. A requeued job starts from the snapshot, under
the same keys, and writes the new address; agents look it up before every start.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agent import files
from agent.cluster import slurm
from agent.errors import ClusterError, one_line
from agent.server.backups import DATABASE, copy_into
from agent.server_note import NAME as NOTE_NAME
from agent.server_note import read_notice, write_notice
from agent.takeover import Term

SNAPSHOT_EVERY_S = 60.0
LIVES = "lives"  # on shared storage: the terms of the job's lives
LIFE = "life"  # on a node's disk: the last of them that ran here


def take_snapshot(local: Path, shared: Path) -> str | None:
    """Renew the copy on shared storage; why it failed, in one line, or None.

    A copy that fails must not take the service down: the server goes on, and it is tried again.
    """
    try:
        copy_into(local, shared)
    except (OSError, sqlite3.Error) as error:
        return f"no snapshot in {shared}: {one_line(error)}; the server goes on, it is tried again"
    return None


def note_problem(local: Path, problem: str | None) -> None:
    """A failed snapshot stands in the job's log, on the server's pages and in `status`, until one
    has succeeded."""
    words = ""
    if problem:
        print(problem, file=sys.stderr, flush=True)
        since = (read_notice(local) or f"since {time.strftime('%Y-%m-%d %H:%M')}: ").split(": ")[0]
        words = f"{since}: {problem}"
    with contextlib.suppress(OSError):  # a full disk here too
        write_notice(local, words)


def local_place(disk: Path, shared: Path) -> Path:
    """One place per user and shared directory, the same in every life on a node."""
    digest = hashlib.sha256(str(shared.resolve()).encode()).hexdigest()[:12]
    return disk / f"sweep-server-{os.getuid()}-{digest}"


def restore(shared: Path, local: Path, life: int = 1) -> None:
    """Start from the last snapshot, or from what the life just before has left on this very node;
    what an older life left here is out of date. Nothing happens when there is neither.
    """
    last_here = local / LIFE
    is_latest = last_here.exists() and last_here.read_text(encoding="utf-8") == str(life - 1)
    if (shared / DATABASE).exists() and not is_latest:
        shutil.rmtree(local, ignore_errors=True)
        skipped = shutil.ignore_patterns(LIVES, f".{DATABASE}.*")
        shutil.copytree(shared, local, ignore=skipped, copy_function=_copy_durably)
    local.mkdir(parents=True, exist_ok=True, mode=0o700)
    local.chmod(0o700)
    files.write_atomically(last_here, str(life))


def _copy_durably(source: str, target: str) -> str:
    """The note of the life that follows says that all of it is there: on the disk, too."""
    shutil.copy2(source, target)
    files.sync_file(Path(target))
    return target


def publish_note(local: Path, shared: Path) -> None:
    """Tell the agents where the server listens; only the owner can read it."""
    content = (local / NOTE_NAME).read_text(encoding="utf-8")
    target = shared / NOTE_NAME
    if not target.exists() or target.read_text(encoding="utf-8") != content:
        files.write_atomically(target, content, mode=0o600)


def address_of(node: str) -> str:
    """This node's address as others see it: by its name in Slurm, else by its host name."""
    for name in (node, socket.gethostname()):
        with contextlib.suppress(OSError):
            if name:
                return socket.gethostbyname(name)
    return "127.0.0.1"


def serve_words(local: Path, host: str) -> list[str]:
    """The server on this node's address. The key of the note guards it."""
    words = [sys.executable, "-m", "agent.cli", "serve", "--data", str(local), "--port", "0"]
    return [*words, "--host", host, "--entity", os.environ.get("USER", "local")]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="agent.cluster.job.server_task", allow_abbrev=False)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--local", type=Path, required=True)
    args = parser.parse_args(words)
    signals: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, receive)
    local = local_place(args.local, args.shared)
    term = Term.take(args.shared / LIVES, {"host": socket.gethostname()})
    restore(args.shared, local, term.number)
    host = address_of(os.environ.get("SLURMD_NODENAME", ""))
    server = subprocess.Popen(serve_words(local, host), stdin=subprocess.DEVNULL)
    try:
        _watch(server, local, args.shared, signals, term)
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()
        if (local / DATABASE).exists() and not term.is_over:
            if problem := take_snapshot(local, args.shared):
                print(f"{problem}; what is newer stays in {local}", file=sys.stderr, flush=True)
            else:
                shutil.rmtree(local, ignore_errors=True)  # a node's disk is not ours to fill
    return _leave(signals)


def _watch(
    server: "subprocess.Popen[bytes]", local: Path, shared: Path, signals: Sequence[int], term: Term
) -> None:
    """Until a signal comes, the server ends, or the job turns out to go on elsewhere."""
    last = 0.0
    while not signals and server.poll() is None:
        time.sleep(0.5)
        if term.is_over:
            return
        if (local / NOTE_NAME).exists():
            with contextlib.suppress(OSError):  # a full disk; the note there may still be right
                publish_note(local, shared)
        if time.monotonic() - last >= SNAPSHOT_EVERY_S and (local / DATABASE).exists():
            note_problem(local, take_snapshot(local, shared))
            last = time.monotonic()


def _leave(signals: Sequence[int]) -> int:
    """At a notice the job comes back; when it is cancelled it does not."""
    job = os.environ.get("SLURM_JOB_ID")
    if signals and signals[0] == signal.SIGUSR1 and job:
        with contextlib.suppress(ClusterError):
            slurm.call(["scontrol", "requeue", job])
        while True:
            signal.pause()  # the kill ends this
    return 0 if signals else 1


if __name__ == "__main__":
    sys.exit(main())
