"""The source's direction of the main channel of a multifd migration: read as it passes.

RAM is not on it, so it is short, and what it says orders everything else: which devices
were begun, when the source has stopped its VM, where the state ends.
"""

import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from harness.errors import WireError
from harness.proxy.flow import END, MORE, Flow
from harness.proxy.outlet import Outlet
from harness.wire.main_channel import Command, MainChannelReader, MainEvent
from harness.wire.reader import NEED_DATA

PIECE = 256 << 10
COMMAND_SIZE = 5
"""Bytes of a command that has no data: type, number, length."""


class MainWatcher(Protocol):
    """What is told of the main channel."""

    def main_event(self, event: MainEvent) -> None:
        """A unit, or a section's end, has come.

        Of the switchover, all before it has been passed on, and it has not.
        """

    def switchover_passed(self) -> None:
        """The switchover has been passed on, and nothing behind it."""

    def damaged(self, error: WireError) -> None:
        """What came cannot be read; from now on it is passed on unread."""


class MainFlow(Flow):
    """Passes everything on as it comes, as long as nobody pauses it.

    What is told to pause it at the switchover, before it or behind it, stops it right there.

    :param where: side and channel, for messages
    """

    def __init__(
        self,
        origin: socket.socket,
        outlet: Outlet,
        changed: Callable[[], None],
        where: str,
        watcher: MainWatcher,
    ) -> None:
        super().__init__(origin, outlet, changed)
        self._reader: MainChannelReader | None = MainChannelReader(where)
        self._watcher = watcher
        self._passed = 0
        self._kept = b""  # read, and not passed on
        self._stops: deque[tuple[int, Callable[[], None]]] = deque()  # offset, who is told there

    def take(self, data: bytes) -> None:
        """Bytes that were received: read them, and pass them on."""
        if self._reader is not None:
            self._reader.feed(data)
        self._kept += data
        self._advance()

    def step(self) -> int:
        if self._reader is None:
            return super().step()
        data = self.origin.recv(PIECE)
        if data:
            self.take(data)
        return MORE if data else END

    def pause(self, is_paused: bool) -> None:
        super().pause(is_paused)
        self._advance()

    def _advance(self) -> None:
        while not self.is_paused:
            if self._stops:
                offset, tell = self._stops.popleft()
                self._pass_until(offset)
                tell()
            elif (event := self._next()) is None:
                self._pass_until(self._passed + len(self._kept))
                return
            elif isinstance(event, Command) and event.is_switchover:
                self._stops.append((event.offset, partial(self._watcher.main_event, event)))
                self._stops.append((event.offset + COMMAND_SIZE, self._watcher.switchover_passed))
            else:
                self._watcher.main_event(event)

    def _next(self) -> MainEvent | None:
        """The next event, if there is one yet."""
        if self._reader is None:
            return None
        try:
            event = self._reader.next()
        except WireError as error:
            self._reader = None
            self._watcher.damaged(error)
            return None
        return None if event is NEED_DATA else event

    def _pass_until(self, offset: int) -> None:
        size = max(offset - self._passed, 0)  # part of a command may have gone before it was one
        data, self._kept = self._kept[:size], self._kept[size:]
        self._passed += len(data)
        if data:
            self.outlet.write(data)
