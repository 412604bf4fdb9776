"""The source's direction of the main channel of a multifd migration: read as it passes.

RAM is not on it, so it is short.  It orders everything else: which devices have begun,
when the source has stopped its VM, where the state ends.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal

from harness.errors import WireError
from harness.history import wire
from harness.proxy.connection import Connection
from harness.proxy.events import MAIN, Notified
from harness.proxy.executor import Executor
from harness.proxy.forwarder import END, MORE, Forwarder
from harness.wire.main_channel import (
    Command,
    MainChannelReader,
    MainEvent,
    Section,
    SectionKind,
    StateEnd,
)
from harness.wire.reader import NEED_DATA

PIECE = 256 << 10
COMMAND_SIZE = 5
"""Bytes of a command that has no data: type, number, length."""


class MainForwarder(Forwarder):
    """Passes everything on as it comes, unless it is paused.

    At the switchover it feeds the chain twice: right before the command is passed on, and
    right behind it; then once behind RAM's last section.  Paused by the chain there, it stops at
    that byte.
    """

    def __init__(self, connection: Connection, executor: Executor) -> None:
        super().__init__(connection.source, connection.to_destination, connection.changed)
        self._reader: MainChannelReader | None = MainChannelReader("source, main channel")
        self._executor = executor
        self._recorder = executor.recorder
        self._passed = 0
        self._kept = b""  # read, and not passed on
        self._stops: deque[tuple[int, Callable[[], None]]] = deque()  # offset, what to do there

    def take(self, data: bytes) -> None:
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
                offset, at_stop = self._stops.popleft()
                self._pass_until(offset)
                at_stop()
            elif (event := self._next()) is None:
                self._pass_until(self._passed + len(self._kept))
                return
            elif isinstance(event, Command) and event.is_switchover:
                self._stops.append((event.offset, partial(self._switchover, event.offset)))
                self._stops.append((event.offset + COMMAND_SIZE, self._switchover_passed))
            else:
                self._record(event)
                if isinstance(event, Section) and event.is_last_of_ram:
                    self._stops.append((event.offset + event.size, self._ram_passed))

    def _next(self) -> MainEvent | None:
        """The next event, if there is one yet."""
        if self._reader is None:
            return None
        try:
            event = self._reader.next()
        except WireError as error:
            self._reader = None
            self._recorder.record(wire.Damaged(what=str(error)), MAIN)
            return None
        return None if event is NEED_DATA else event

    def _pass_until(self, offset: int) -> None:
        size = max(offset - self._passed, 0)  # part of a command may have gone before it was one
        data, self._kept = self._kept[:size], self._kept[size:]
        self._passed += len(data)
        if data:
            self.outlet.write(data)

    # -- what is seen ----------------------------------------------------------------

    def _record(self, event: MainEvent) -> None:
        match event:
            case Section(kind=SectionKind.START | SectionKind.FULL) if "/" in event.idstr:
                kind: Literal["start", "full"] = (
                    "start" if event.kind is SectionKind.START else "full"
                )
                section = wire.MainSection(kind, event.idstr, event.body_size)
                self._recorder.record(section, MAIN, event.idstr)
            case StateEnd():
                self._recorder.record(wire.MainEnd(event.offset), MAIN)

    def _switchover(self, offset: int) -> None:
        self._recorder.record(wire.Switchover(offset), MAIN)
        self._executor.feed(Notified("switchover", offset))

    def _switchover_passed(self) -> None:
        self._executor.feed(Notified("switchover_passed"))

    def _ram_passed(self) -> None:
        self._executor.feed(Notified("ram_passed"))
