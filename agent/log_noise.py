"""Keep a worker's log to what a user can act on, and the worker alive when the log is full.

Call before the heavy imports.
"""

import io
import logging
import os
import sys
import warnings
from typing import TextIO

from agent.errors import DISK_ERRNOS


class LossyFile(io.FileIO):
    """An open file that loses what its disk does not take, and says so when it takes data again."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)
        self._lost = 0  # bytes
        self._reason = ""

    # Of what FileIO takes, only what a TextIOWrapper gives: bytes.
    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            if self._lost:
                note = f"\n[{self._lost} bytes of this log are lost: {self._reason}]\n"
                super().write(note.encode())
                self._lost = 0
            while left:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            if error.errno not in DISK_ERRNOS:
                raise
            self._lost += len(left)
            self._reason = error.strerror or ""
        return size


def outlive_a_full_log() -> None:
    """From here on a log that cannot be written costs its lines, and no print() fails: a run is
    worth more than what it says."""
    sys.stdout = _lossy(sys.stdout)
    sys.stderr = _lossy(sys.stderr)


def _lossy(stream: TextIO) -> TextIO:
    """The stream on the same descriptor; itself where it has none (a test's, a notebook's)."""
    try:
        number = stream.fileno()
    except (OSError, AttributeError, ValueError):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        LossyFile(number),  # without a buffer, as PYTHONUNBUFFERED has it
        encoding=stream.encoding,
        errors=stream.errors,
        write_through=True,
    )


def quieten_libraries() -> None:
    """LLM.int8 logs at every call that it casts its input (that is how it works), bitsandbytes
    names an optional CPU kernel that it does without, transformers draws a bar for every load,
    and PEFT still uses a name that transformers has deprecated."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
    warnings.filterwarnings("ignore", message=".*torch.jit.script_method.*deprecated")
