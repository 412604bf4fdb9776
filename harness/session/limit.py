"""How long a session's own work on states may take: generating, digesting, comparing."""

import threading
import time

from harness.vfio.state_bytes import Stopped


class Limit:
    """A ``GoOn`` that stops the work after ``limit_s``, or once the session has ended.

    :param ended: set where the session is left
    """

    def __init__(self, ended: threading.Event, limit_s: float) -> None:
        self._ended = ended
        self._limit_s = limit_s
        self._until = time.monotonic() + limit_s

    def __call__(self) -> None:
        """Let the work go on, or not.

        :raise Stopped: with why
        """
        if self._ended.is_set():
            raise Stopped("the run was interrupted")
        if time.monotonic() > self._until:
            raise Stopped(f"it took longer than {self._limit_s:g} s")
