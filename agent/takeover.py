"""Terms: which process of several that ran the same thing may still write for it.

A node that falls silent is taken for dead, and its work is started again elsewhere; what ran there
may wake up later. Every life takes the next number in a directory on the shared file system before
it writes anything, and looks before each write whether a later number has been taken. No clocks
and no locks: a number can be taken only once. A training's lease (agent/training/lease.py) adds
signs of life to such terms and waits for them to stop; a run and a server are simply taken over.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent import files

TAKEN_OVER = 76  # exit status of a process that found its work going on elsewhere


@dataclass(frozen=True)
class Term:
    """One term. Numbers start at 1 and have no gaps; `NNNN.json` says who holds it."""

    directory: Path
    number: int

    @staticmethod
    def take(directory: Path, holder: Mapping[str, object]) -> "Term":
        """Begin the next term; the one before is over from now on."""
        directory.mkdir(parents=True, exist_ok=True)
        while True:
            if term := Term.take_after(directory, latest_number(directory), holder):
                return term

    @staticmethod
    def take_after(directory: Path, number: int, holder: Mapping[str, object]) -> "Term | None":
        """Begin the term after `number`; None when another has begun it already."""
        term = Term(directory, number + 1)
        return term if files.create_exclusively(term.path, json.dumps(dict(holder))) else None

    @property
    def path(self) -> Path:
        return self.directory / f"{self.number:04d}.json"

    @property
    def is_over(self) -> bool:
        """True when a later term has begun."""
        return latest_number(self.directory) > self.number


def latest_number(directory: Path) -> int:
    """The highest number ever taken; 0 when none was."""
    stems = (path.stem for path in directory.glob("[0-9]*.json"))
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


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
