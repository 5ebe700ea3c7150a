"""One flag between a signal and the training loop.

USR2 means preemption (save, mark the run, be requeued), SIGTERM and Ctrl-C mean stop. Handlers
only set the flag; the loop looks at it between steps. Installed before the heavy imports, so that
a signal in a worker's first seconds is not lost. (USR1 is not used: NCCL takes it.)
"""

import signal
from enum import Enum
from types import FrameType


class Interruption(Enum):
    """Why a run ends early, with the exit status that says so."""

    PREEMPTED = 75  # EX_TEMPFAIL: try again
    STOPPED = 143  # 128 + SIGTERM


class Interrupted(Exception):
    """Raised at a safe place, after the state has been saved."""

    def __init__(self, kind: Interruption) -> None:
        super().__init__(kind.name.lower())
        self.kind = kind


_requested: Interruption | None = None


def install() -> None:
    """Route the signals to the flag. A second Ctrl-C ends the process at once."""
    signal.signal(signal.SIGUSR2, _on_preemption)
    signal.signal(signal.SIGTERM, _on_stop)
    signal.signal(signal.SIGINT, _on_stop)


def requested() -> Interruption | None:
    return _requested


def check() -> None:
    """Raise Interrupted when a signal has come."""
    if _requested is not None:
        raise Interrupted(_requested)


def _on_preemption(_number: int, _frame: FrameType | None) -> None:
    global _requested
    _requested = _requested or Interruption.PREEMPTED


def _on_stop(number: int, _frame: FrameType | None) -> None:
    global _requested
    if number == signal.SIGINT and _requested is Interruption.STOPPED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt
    _requested = Interruption.STOPPED
