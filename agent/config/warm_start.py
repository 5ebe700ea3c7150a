"""Where a process finds a worker that has imported everything already."""

import os
import socket
from pathlib import Path

WARM_WORKER = "SWEEP_AGENT_WARM_WORKER"  # names the path of the worker's Unix socket
WORKER_MODULE = "agent.programs.warm_worker"  # run with that path and an inherited socket's number


def listen_at(path: Path) -> socket.socket:
    """A Unix socket for this user alone that takes clients from now on."""
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
