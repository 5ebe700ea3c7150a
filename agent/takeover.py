"""Terms of office: which life of something speaks for it now.

A node that falls silent is taken for dead, and its work is started again elsewhere; what ran there
may wake up later. Every life takes the next number in a directory on the shared file system before
it writes anything, and looks before each write whether a later number has been taken. No clocks
and no locks: a number can be taken only once.
"""

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent import files

TAKEN_OVER = 76  # exit status of a process that found its work going on elsewhere


@dataclass(frozen=True)
class Term:
    """One term. Numbers start at 1 and have no gaps."""

    directory: Path
    number: int

    @staticmethod
    def take(directory: Path, holder: str) -> "Term":
        """Begin the next term; the one before is over from now on. `holder` is for people."""
        directory.mkdir(parents=True, exist_ok=True)
        number = max((int(p.name) for p in directory.iterdir() if p.name.isdigit()), default=0) + 1
        while not files.create_exclusively(_path(directory, number), f"{holder}\n"):
            number += 1
        return Term(directory, number)

    @property
    def is_over(self) -> bool:
        """True when somebody has taken the next term."""
        return _path(self.directory, self.number + 1).exists()


def leave_without_a_word(reason: str) -> NoReturn:
    """End this process at once, and before it its children: wandb's own among them would still
    send what it holds, and would end the run that goes on elsewhere.
    """
    print(reason, file=sys.stderr, flush=True)
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(TAKEN_OVER)


def _children() -> list[int]:
    """Direct children, by the kernel's list."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number:04d}"
