"""Taking turns in the order of asking.

A plain lock goes to whichever thread is running when it is freed, which is often the one that has
just freed it: a large part written slice by slice could keep a heartbeat waiting for seconds.
"""

import threading
from collections import deque


class Turns:
    """A lock that serves its waiters first come, first served; used as a context manager."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()  # freed by the one before

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False

    def locked(self) -> bool:
        return self._is_held
