"""The fork of a warm worker: it takes on what its client has and runs its program to the end."""

import atexit
import ctypes
import io
import os
import runpy
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


@dataclass
class Request:
    """What a client asks to be run, with the streams it has sent."""

    content: Mapping[str, Any]
    streams: list[int]


def die_with(parent: int) -> None:
    """Have the kernel end this process when the worker ends without a goodbye."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def become(request: Request, temporary: "Sequence[tempfile.TemporaryDirectory[str]]") -> None:
    """Take on everything of the client that a process has, and directories of its own."""
    content = request.content
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(content["environment"])
    os.umask(content["umask"])
    os.chdir(content["directory"])
    sys.argv = list(content["argv"])
    sys.path[0] = str(Path(content["script"]).parent)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _text_stream(1, errors="strict")
    sys.stderr = _text_stream(2, errors="backslashreplace")
    for folder in temporary:
        folder.__dict__["_finalizer"].detach()  # the worker removes its own
        tempfile.TemporaryDirectory.__init__(folder)
    import numpy as np

    np.random.seed(None)


def run(script: str) -> None:
    """Run it as a program and end as the interpreter would, all but the taking apart of what was
    imported: in a fork that writes to a copy of every page of it, to throw it away.
    """
    status: object = None
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code
    if isinstance(status, int | None):
        threading._shutdown()  # type: ignore[attr-defined]  # private: as the interpreter's own end
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit((status or 0) & 0xFF)
    raise SystemExit(status)  # a text, which the interpreter prints


def _text_stream(number: int, errors: str) -> io.TextIOWrapper:
    """Buffered as the interpreter does: by line on a terminal and for errors."""
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    return io.TextIOWrapper(
        open(number, "wb", closefd=False),
        errors=errors,
        line_buffering=number == 2 or os.isatty(number),
        write_through=is_unbuffered,
    )
