"""The **executor**: gives events to the chain, and carries its commands out on connections."""

from collections import deque
from collections.abc import Callable
from typing import assert_never

from harness.errors import UsageError
from harness.history import wire
from harness.proxy.chain import Chain
from harness.proxy.connection import Connection
from harness.proxy.events import (
    MAIN,
    After,
    Close,
    Command,
    Deliver,
    DeliverRaw,
    End,
    Ended,
    Event,
    Greet,
    Note,
    Opened,
    ResumeMain,
    StallMain,
)
from harness.proxy.recorder import Recorder


class Executor:
    """Knows the connections by channel; the chain knows channels only.

    :param after: calls ``feed(Due(token))`` when so many seconds have passed
    """

    def __init__(
        self, chain: Chain, recorder: Recorder, after: Callable[[float, int], None]
    ) -> None:
        self.chain = chain
        self.recorder = recorder
        self._after = after
        self._channels: dict[int, Connection] = {}
        self._events: deque[Event] = deque()
        self._is_feeding = False
        self._resumes_main = False

    def opened(self, connection: Connection) -> None:
        """A connection has shown what it is."""
        opened = wire.ChannelOpened(connection.number, connection.kind)
        self.recorder.record(opened, connection.channel)
        if connection.channel >= MAIN:
            self._channels[connection.channel] = connection
            self.feed(Opened(connection.channel))

    def source_ended(self, connection: Connection) -> None:
        """Nothing more comes from the source on a multifd channel."""
        if self._channels.get(connection.channel) is connection:
            self.feed(Ended(connection.channel))
        else:
            connection.end()

    def feed(self, event: Event) -> None:
        """Give the event to the chain, and do what it commands.

        An event that comes meanwhile waits: no fault is given two at once.
        """
        self._events.append(event)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._events:
                for command in self.chain.handle(self._events.popleft()):
                    self._do(command)
        finally:
            self._is_feeding = False
        if self._resumes_main:  # what it passes on may be the next event
            self._resumes_main = False
            self._connection(MAIN).from_source.pause(False)

    def _do(self, command: Command) -> None:
        match command:
            case Greet(channel, hello):
                self._connection(channel).greet(hello)
            case Deliver(channel, packet):
                self._connection(channel).deliver(packet)
            case DeliverRaw(channel, data):
                self._connection(channel).deliver_raw(data)
            case End(channel):
                self._connection(channel).end()
            case Close(channel, is_abrupt):
                self._connection(channel).break_off(is_abrupt)
            case After(delay_s, token):
                self._after(delay_s, token)
            case StallMain():
                self._resumes_main = False
                self._connection(MAIN).from_source.pause(True)
                self.recorder.record(wire.MainStalled(), MAIN)
            case ResumeMain():
                self._resumes_main = True
                self.recorder.record(wire.MainResumed(), MAIN)
            case Note():
                self._note(command)
            case _:
                assert_never(command)

    def _note(self, note: Note) -> None:
        device, idx = ("", None) if note.packet is None else (note.packet.device, note.packet.idx)
        kind = self.chain.name_of(note.position)
        body = wire.Fault(fault=kind, position=note.position, what=note.what, idx=idx)
        self.recorder.record(body, note.channel, device)

    def _connection(self, channel: int) -> Connection:
        found = self._channels.get(channel)
        if found is None:
            there = ", ".join(str(number) for number in sorted(self._channels))
            raise UsageError(f"a fault is about channel {channel}, there is {there or 'none'}")
        return found
