"""A server in a process of its own, for as long as a block runs: for tests and demonstrations."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import ServerError
from agent.server_note import ServerNote, read_note


@dataclass(frozen=True)
class ServerAddress:
    """A server that answers."""

    base_url: str
    entity: str
    pid: int
    env: dict[str, str] = field(repr=False)  # what points the wandb client at it


@contextlib.contextmanager
def running_server(
    data_dir: Path, port: int = 0, timeout_s: float = 30, options: Sequence[str] = ()
) -> Iterator[ServerAddress]:
    """Start a server on loopback, wait until it answers, and end it with the block.

    `options` are more words for `sweep-agent serve`. Raises ServerError with the server's own
    words if it does not answer in time.
    """
    process = start_server(data_dir, port, options)
    try:
        note = wait_until_ready(process, data_dir, timeout_s)
        yield ServerAddress(note.url, note.entity, process.pid, note.environment())
    finally:
        end_server(process)


def start_server(
    data_dir: Path, port: int = 0, options: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    """Start `sweep-agent serve`; its output goes to `server.log` in the data directory."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [
        sys.executable,
        "-m",
        "agent.cli",
        "serve",
        "--data",
        str(data_dir),
        "--port",
        str(port),
        *options,
    ]
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with (data_dir / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )


def wait_until_ready(
    process: "subprocess.Popen[bytes]", data_dir: Path, timeout_s: float = 30
) -> ServerNote:
    """The note of the started server, once it answers."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        note = read_note(data_dir)
        if note is not None and _answers(note.url):
            return note
        time.sleep(0.05)
    words = (data_dir / "server.log").read_text(errors="replace").strip()[-1000:]
    what = f"ended with {process.returncode}" if process.poll() is not None else "does not answer"
    raise ServerError(f"the sweep server on {data_dir} {what}: {words or 'it said nothing'}")


def end_server(process: "subprocess.Popen[bytes]", timeout_s: float = 10) -> None:
    """End the server, gently at first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
