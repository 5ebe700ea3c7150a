"""Times in which the server itself was not there: stopped, suspended, or its clock was set.

Leases and silences are measured by the wall clock. What passed while the server could not listen
says nothing about its clients, so every lease gets that much longer.
"""

import threading
import time
from collections.abc import Callable

from agent.server.store.database import Connection

LONGEST_S = 5.0  # between two looks at the clock of a server that is there; upkeep looks every 2 s
SHORTEST_S = 2.5


def longest_look(*patience_s: float) -> float:
    """What counts as a pause, in seconds, for a server that is as patient as this: less than that
    patience, but more than the time between two looks of upkeep."""
    return max(SHORTEST_S, min(LONGEST_S, *(seconds / 2 for seconds in patience_s)))


class AttentiveClock:
    """The wall clock, noting by how much it went on between two looks, or was set.

    `monotonic` has to go on while the process is stopped. It may or may not go on while the machine
    is suspended: both cases are seen.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._wall, self._monotonic, self._longest_s = wall, monotonic, longest_s
        self._lock = threading.Lock()
        self._last = (wall(), monotonic())
        self._missed_s = 0.0

    def __call__(self) -> float:
        with self._lock:
            now = (self._wall(), self._monotonic())
            passed_s, lived_s = now[0] - self._last[0], now[1] - self._last[1]
            self._last = now
            was_away = lived_s > self._longest_s
            was_set = abs(passed_s - lived_s) > self._longest_s
            if was_away or was_set:
                self._missed_s += passed_s
        return now[0]

    def excuse(self, connection: Connection) -> None:
        """Give every lease the time that was missed since the last call. Inside a transaction."""
        self()
        with self._lock:
            missed_s, self._missed_s = self._missed_s, 0.0
        if missed_s:
            shift(connection, missed_s)


def shift(connection: Connection, seconds: float) -> None:
    """Move all signs of life by `seconds`, as if the clients had spoken that much later."""
    connection.execute(
        "UPDATE run SET heartbeat_at = heartbeat_at + ? WHERE state = 'running'", (seconds,)
    )
    connection.execute("UPDATE deleted_run SET due_at = due_at + ?", (seconds,))
    connection.execute("UPDATE agent SET heartbeat_at = heartbeat_at + ?", (seconds,))
    connection.execute(
        "UPDATE point SET claimed_at = claimed_at + ?, seen_at = seen_at + ?, "
        "gone_at = gone_at + ?, lease_until = lease_until + ? WHERE status = 'claimed'",
        (seconds,) * 4,
    )
