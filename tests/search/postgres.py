"""A real PostgreSQL server for tests: own directory, loopback only, a password, ended by its
starter."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNPRIVILEGED = "postgres"  # the server refuses to run as root


def find_binaries() -> Path | None:
    """The directory of initdb and postgres, None where PostgreSQL is not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in [*places, Path(shutil.which("initdb") or "").parent]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return None


def why_not() -> str | None:
    """The reason a server cannot be started here, None when it can."""
    if find_binaries() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.getuid() == 0:
        try:
            pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            return f"PostgreSQL refuses root and there is no user {UNPRIVILEGED}"
    return None


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of a fresh server's database."""
    binaries = find_binaries()
    assert binaries is not None
    password = secrets.token_urlsafe(12)
    user = UNPRIVILEGED if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        root = Path(name)
        (root / "password").write_text(password)
        if user:
            shutil.chown(root, user)
            shutil.chown(root / "password", user)
        subprocess.run(
            [
                str(binaries / "initdb"),
                *("-D", str(root / "data"), "-U", "sweep", "-A", "scram-sha-256", "--no-sync"),
                *("--pwfile", str(root / "password"), "--encoding", "UTF8", "--locale", "C"),
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd=root,
        )
        port = _free_port()
        server = subprocess.Popen(
            [
                str(binaries / "postgres"),
                *("-D", str(root / "data"), "-p", str(port), "-k", str(root)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                *("-c", "max_connections=200"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user,
            cwd=root,
        )
        try:
            _wait_for(port, server)
            yield f"postgresql://sweep:{password}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": does not wait for clients
            server.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"postgres ended with status {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("postgres did not listen within 30 s")
