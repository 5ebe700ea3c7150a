"""A warm start, the side of `train.py`: hand this process's work to a worker that has imported
everything already (`agent.programs.warm_worker`), and stand in for it.

The worker forks. What it forks gets this process's arguments, environment, directory, umask and
streams; signals that come here are passed on, its end becomes the end of this process, and when
this process is killed it is killed as well. Where the environment names no worker, or the worker
cannot do exactly what this process would do, the work is done here. Imports the standard library
only: starting fast is what it is for.
"""

import array
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from agent.config.warm_start import WARM_WORKER

LENGTH = struct.Struct("!I")
STATUS = struct.Struct("!i")  # a wait status
FORKED, ALONE = b"F", b"A"  # the worker's answers
# What is passed on: every signal that a program can catch.
_PASSED = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "SIGCONT")
]


def run(script: str, words: Sequence[str]) -> int | None:
    """The exit status of `script` run by the worker that the environment names; None when it has
    to be run here. Ends this process by a signal when that is how the work has ended."""
    path = os.environ.get(WARM_WORKER)
    if not path or "RANK" in os.environ:  # torchrun's processes find each other by themselves
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            _send_request(connection, script, words)
            code = _stand_in(connection)
    except OSError:
        return None  # no worker there (any more)
    return None if code is None else _end_as(code)


def _send_request(connection: socket.socket, script: str, words: Sequence[str]) -> None:
    umask = os.umask(0)
    os.umask(umask)
    environment = {name: text for name, text in os.environ.items() if name != WARM_WORKER}
    request = {
        "script": str(Path(script).absolute()),
        "argv": [script, *words],
        "environment": environment,
        "directory": os.getcwd(),  # noqa: PTH109  (a string for JSON)
        "umask": umask,
        "interpreter": [sys.prefix, sys.version, *sys.flags],
    }
    text = json.dumps(request, ensure_ascii=True).encode()
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    connection.sendmsg([LENGTH.pack(len(text))], streams)
    connection.sendall(text)


def _stand_in(connection: socket.socket) -> int | None:
    """Pass signals on until the work has ended."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):  # it may just have ended
            connection.sendall(bytes([number]))

    def stop(_number: int, _frame: FrameType | None) -> None:
        pass_on(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)

    before = {number: signal.signal(number, pass_on) for number in _PASSED}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, stop)
    try:
        if connection.recv(1) != FORKED:
            return None
        answer = b""
        while len(answer) < STATUS.size:
            part = connection.recv(STATUS.size - len(answer))
            if not part:  # the worker has died, and what it forked with it
                print("train.py: the warm worker has ended; going on alone", file=sys.stderr)
                return None
            answer += part
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return os.waitstatus_to_exitcode(STATUS.unpack(answer)[0])


def _end_as(code: int) -> int:
    """End by the signal that has ended the work (a negative code), else give its exit status."""
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler to put back
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
