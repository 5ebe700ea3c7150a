"""HTTP connections that are not allowed to dawdle, nor to take every descriptor."""

import asyncio
import resource
from collections import OrderedDict

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 30.0
MOST_DESCRIPTORS = 65_536
AT_ONCE = 64  # connections that are accepted in one go
QUEUE = 1024  # connections that the system holds until they are accepted
FILES = 128  # databases, uploads, downloads


class Guests:
    """The connections that wait: without a whole request so far, or between two requests.

    When there are as many as descriptors allow, the one that has said the least for the longest
    gives way, so that a connection with a request is answered. One that is being answered is
    never cut off.
    """

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self.count = 0
        self._silent: OrderedDict[PromptProtocol, None] = OrderedDict()  # no request yet
        self._idle: OrderedDict[PromptProtocol, None] = OrderedDict()

    def come(self, guest: "PromptProtocol") -> None:
        self.count += 1
        if self.count > self.most:
            waiting = self._silent or self._idle
            oldest = next(iter(waiting), guest)
            waiting.pop(oldest, None)
            oldest.leave()
            if oldest is guest:
                return
        self._silent[guest] = None

    def ask(self, guest: "PromptProtocol") -> None:
        """It has sent a request, which is being answered."""
        self._silent.pop(guest, None)
        self._idle.pop(guest, None)

    def rest(self, guest: "PromptProtocol") -> None:
        """It has been answered."""
        self._idle[guest] = None

    def go(self, guest: "PromptProtocol") -> None:
        self.count -= 1
        self.ask(guest)


GUESTS = Guests()


class PromptProtocol(H11Protocol):
    """Closes a connection whose request line and headers do not arrive in time.

    uvicorn itself waits for ever, so that a handful of slow senders could hold every descriptor.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(
        self,
        transport: asyncio.Transport,  # type: ignore[override]  # uvicorn's own narrower type
    ) -> None:
        super().connection_made(transport)
        GUESTS.come(self)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            GUESTS.ask(self)
            self._stop_clock()
        elif before is None or before.response_complete:
            self._start_clock()

    def on_response_complete(self) -> None:
        GUESTS.rest(self)
        super().on_response_complete()

    def leave(self) -> None:
        """Close at once, to free the descriptor."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        GUESTS.go(self)
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_TIMEOUT_S, self._give_up)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering and not self.transport.is_closing():
            self.transport.close()


def allow_many_descriptors() -> None:
    """Hundreds of agents and runs each hold a connection: use what the system allows, but keep
    some descriptors for files and for what is accepted in one go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard if hard != resource.RLIM_INFINITY else MOST_DESCRIPTORS, MOST_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    GUESTS.most = most_guests(max(soft, wanted))


def most_guests(descriptors: int) -> int:
    """How many connections may be open under a limit of descriptors.

    Those of a few goes are accepted before the first that had to leave is closed.
    """
    return max(descriptors // 2, descriptors - 4 * AT_ONCE - FILES)
