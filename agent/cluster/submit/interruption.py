"""A signal in the middle of a submission: what is being created is first recorded, so that it can
be taken back."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_wait() -> Iterator[Callable[[], None]]:
    """Inside, the first Ctrl-C, SIGTERM or hangup only counts: the function given raises
    KeyboardInterrupt once one has come. A second one raises it at once.
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

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
