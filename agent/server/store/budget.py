"""What one request may cost: rows, bytes and seconds, so that none takes the server from others."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.server.refusals import Refused

MAX_ROWS = 5_000_000  # lines looked at, each once for every sample that is asked of it
MAX_BYTES = 128 * 2**20
MAX_SECONDS = 20.0
_WAY_OUT = "ask for fewer runs, keys or samples at a time"


@dataclass(slots=True)
class Budget:
    """What is left for one request. Raises Refused when it is spent."""

    rows: int = MAX_ROWS
    size: int = MAX_BYTES
    seconds: float = MAX_SECONDS
    clock: Callable[[], float] = time.monotonic
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + self.seconds

    def spend(self, rows: int = 0, size: int = 0) -> None:
        """Take what is about to be read or answered."""
        self.rows -= rows
        self.size -= size
        if self.rows < 0:
            raise Refused(f"the request reads more than {MAX_ROWS} rows: {_WAY_OUT}")
        if self.size < 0:
            raise Refused(f"the answer is larger than {MAX_BYTES} bytes: {_WAY_OUT}")
        self.check()

    def check(self) -> None:
        """Between two steps of the work."""
        if self.is_late():
            raise Refused(f"the request takes more than {self.seconds:g} s: {_WAY_OUT}")

    def is_late(self) -> bool:
        return self.clock() > self.deadline
