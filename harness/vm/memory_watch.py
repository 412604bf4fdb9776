"""Samples of both QEMUs' memory during the migration, for its course over time.

The kernel has no event for the size of a process's memory, so it is sampled.  The samples are
only for a graph: nothing waits for them, and the high-water mark is the kernel's own (VmHWM).
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

FIRST_S: Final = 0.01
MOST: Final = 200
"""Samples at one interval; then the interval doubles, so that a long run has few more."""


class MemoryWatch:
    """Inside ``with``, calls each of ``looks`` from time to time, in the running event loop.

    :param looks: take one sample each, and must not block
    """

    def __init__(self, looks: Sequence[Callable[[], None]], first_s: float = FIRST_S) -> None:
        self._looks = looks
        self._distance_s = first_s
        self._left = MOST
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._wind()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wind(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._distance_s, self._look)

    def _look(self) -> None:
        for look in self._looks:
            look()
        self._left -= 1
        if not self._left:
            self._left, self._distance_s = MOST, self._distance_s * 2
        self._wind()
