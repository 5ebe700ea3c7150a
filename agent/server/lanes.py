"""Threads for work that may be long, shared out among callers so that none takes all of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent.server.refusals import Refused

T = TypeVar("T")
THREADS = 6
PER_CALLER = 2
MAX_WAITING = 100


class Lane:
    """A pool of threads of which one caller (an entity) gets a few at a time."""

    def __init__(self, threads: int = THREADS, per_caller: int = PER_CALLER) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lane")
        self._per_caller = per_caller
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._waiting: dict[str, int] = {}

    async def run(self, caller: str, work: Callable[..., T], *arguments: Any) -> T:
        """Do the work when it is the caller's turn. Raises Refused (429) past a long queue."""
        waiting = self._waiting.get(caller, 0)
        if waiting >= MAX_WAITING:
            raise Refused("too many long requests of this entity at once; wait for some", 429)
        turn = self._turns.setdefault(caller, asyncio.Semaphore(self._per_caller))
        self._waiting[caller] = waiting + 1
        try:
            async with turn:
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, work, *arguments
                )
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller], self._turns[caller]

    def close(self) -> None:
        self._pool.shutdown(wait=True)
