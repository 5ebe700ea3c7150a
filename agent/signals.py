"""One flag between a signal and the training loop.

USR2 means preemption (save, mark the run, be requeued), SIGTERM and Ctrl-C mean stop. Handlers
only set the flag; the loop looks at it between steps. Installed before the heavy imports, so that
a signal in a worker's first seconds is not lost. (USR1 is not used: NCCL takes it.)

Slurm's SIGTERM reaches every process of a job at once, in a cancellation as in a preemption or a
requeue. Which it is the task's supervisor asks Slurm, and says USR2 a moment later.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from enum import Enum
from types import FrameType


class Interruption(Enum):
    """Why a run ends early, with the exit status that says so."""

    PREEMPTED = 75  # EX_TEMPFAIL: try again
    STOPPED = 143  # 128 + SIGTERM


SUPERVISED = "SWEEP_AGENT_TASK"  # set where a supervisor watches over this run
VERDICT_S = 1.0  # for the supervisor to learn what a SIGTERM means


class Interrupted(Exception):
    """Raised at a safe place, after the state has been saved."""

    def __init__(self, kind: Interruption) -> None:
        super().__init__(kind.name.lower())
        self._kind = kind

    @property
    def kind(self) -> Interruption:
        """Preemption also where its word has come after the SIGTERM that this was raised for."""
        return _requested if _requested is Interruption.PREEMPTED else self._kind


_requested: Interruption | None = None
_noticed_at = 0.0
_was_terminated = False


def install() -> None:
    """Route the signals to the flag. A second Ctrl-C ends the process at once."""
    signal.signal(signal.SIGUSR2, _on_preemption)
    signal.signal(signal.SIGTERM, _on_stop)
    signal.signal(signal.SIGINT, _on_stop)


def requested() -> Interruption | None:
    return _requested


def seconds_since_notice() -> float:
    """Time since the first signal; 0 when none has come."""
    return time.monotonic() - _noticed_at if _requested else 0.0


def check() -> None:
    """Raise Interrupted when a signal has come."""
    if _was_terminated and SUPERVISED in os.environ:
        while _requested is Interruption.STOPPED and seconds_since_notice() < VERDICT_S:
            time.sleep(0.02)
    if _requested is not None:
        raise Interrupted(_requested)


def _on_preemption(_number: int, _frame: FrameType | None) -> None:
    """Preemption wins: the SIGTERM that clusters send beside it must not end the grid point."""
    _note(Interruption.PREEMPTED)


def _on_stop(number: int, _frame: FrameType | None) -> None:
    global _was_terminated
    if number == signal.SIGINT and _requested is Interruption.STOPPED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt
    if _requested is None:
        _was_terminated = number == signal.SIGTERM
        _note(Interruption.STOPPED)


def _note(kind: Interruption) -> None:
    global _requested, _noticed_at
    if _requested is None:
        _noticed_at = time.monotonic()
    _requested = kind


_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_wait() -> Iterator[Callable[[], None]]:
    """For a submission, so that what is being created is recorded and can be taken back: inside,
    the first Ctrl-C, SIGTERM or hangup only counts, and the function given raises KeyboardInterrupt
    once one has come. A second one raises it at once.
    """
    has_come = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if has_come:
            raise KeyboardInterrupt
        has_come = True

    def check() -> None:
        if has_come:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in _ENDINGS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
