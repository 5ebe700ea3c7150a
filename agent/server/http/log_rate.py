"""Log lines that come again and again are written now and then, with how many were left out."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

PERIOD_S = 10.0
KINDS = 500
LOGGERS = ("asyncio", "uvicorn.error", "sweep_agent.server")


class RareLines(logging.Filter):
    """Passes one line of a kind (its first words) per period."""

    def __init__(
        self, period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._period_s = period_s
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.getMessage().split("\n")[0][:60])
        now = self._clock()
        passed_at, left_out = self._seen.pop(kind, (float("-inf"), 0))
        passes = now - passed_at >= self._period_s
        self._seen[kind] = (now, 0) if passes else (passed_at, left_out + 1)
        if len(self._seen) > KINDS:
            self._seen.popitem(last=False)
        if passes and left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this since)"
            record.args = ()
        return passes


def limit_log_lines() -> None:
    """Requests without a key must not fill the disk through the log."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(RareLines())
