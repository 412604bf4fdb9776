"""Waiting for a condition, with a deadline, without polling."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Activity:
    """Wakes its waiters whenever it is notified."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake every waiter, which then checks its condition again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, seen: Callable[[], T | None], timeout_s: float) -> T:
        """Wait until ``seen()`` returns something that is not None, and return that.

        :raise TimeoutError: it was still None after ``timeout_s``
        """
        async with asyncio.timeout(timeout_s):
            while (result := seen()) is None:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.discard(waiter)
        return result
