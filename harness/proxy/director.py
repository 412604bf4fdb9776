"""Carries the chain's commands out on the connections, and tells what was seen."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from harness.errors import UsageError, WireError
from harness.proxy.chain import Chain
from harness.proxy.connection import Connection
from harness.proxy.events import (
    MAIN,
    After,
    Arrived,
    Close,
    Command,
    Deliver,
    DeliverRaw,
    End,
    Ended,
    Event,
    Greet,
    Greeted,
    Note,
    Opened,
    ResumeMain,
    StallMain,
    Told,
)
from harness.proxy.observer import MARKER_SIZE, Seen, digest_of, hello_args, packet_args
from harness.wire.framing import StateHead
from harness.wire.main_channel import Command as MainCommand
from harness.wire.main_channel import MainEvent, Section, SectionKind, StateEnd
from harness.wire.packets import DeviceStatePacket, MultiFDInit

Record = Callable[[Seen], None]


class Director:
    """Knows the connections by channel; the chain knows channels only.

    :param after: calls ``feed(Due(token))`` when so many seconds have passed
    :param keeps_payload: tell the data of packets too
    """

    def __init__(
        self,
        chain: Chain,
        record: Record,
        after: Callable[[float, int], None],
        keeps_payload: bool,
    ) -> None:
        self.chain = chain
        self.is_whole = keeps_payload or not chain.is_empty
        """Whether packets are taken whole; else they are passed on as they come."""
        self._record = record
        self._after = after
        self._keeps_payload = keeps_payload
        self._channels: dict[int, Connection] = {}
        self._events: deque[Event] = deque()
        self._is_feeding = False
        self._order = 0
        self._hello = MultiFDInit(0)  # the last that the chain has handed on

    def tell(self, name: str, channel: int, **args: Any) -> None:
        """Record something that is not about a packet."""
        self._record(Seen(time.time_ns(), name, args, channel))

    # -- what happens ----------------------------------------------------------------

    def opened(self, connection: Connection, kind: str) -> None:
        """A connection has said what it is."""
        self.tell("channel_opened", connection.channel, connection=connection.number, kind=kind)
        if connection.channel >= MAIN:
            self._channels[connection.channel] = connection
            self.feed(Opened(connection.channel))

    def greeted(self, connection: Connection, hello: MultiFDInit) -> MultiFDInit:
        """A multifd channel has said which it is; the hello that the destination gets."""
        connection.channel = hello.channel_id
        self.opened(connection, "multifd")
        self._hello = hello
        self.feed(Greeted(connection.channel, hello))
        if self._hello != hello:
            self.tell("hello_out", connection.channel, **hello_args(self._hello))
        return self._hello

    def arrived(self, connection: Connection, packet: DeviceStatePacket) -> None:
        """A packet has come whole."""
        self._packet("packet_in", connection.channel, packet)
        self._order += 1
        self.feed(Arrived(connection.channel, packet, self._order - 1))

    def passed(self, connection: Connection, head: StateHead, digest: str, t_ns: int) -> None:
        """A packet was cut through; it had come whole at ``t_ns``."""
        packet = DeviceStatePacket.unpack(head.head, head.state_header)
        packet = replace(packet, next_packet_size=None)  # true: the data was counted by it
        args = packet_args(packet, head.data_size, digest)
        channel, device = connection.channel, packet.device
        self._record(Seen(t_ns, "packet_in", args, channel, device))

        def is_out() -> None:
            self._record(Seen(time.time_ns(), "packet_out", args, channel, device))

        if connection.to_destination.held:
            connection.to_destination.write(on_sent=is_out)
        else:
            is_out()

    def main_event(self, connection: Connection, event: MainEvent) -> None:
        """The main channel has said something."""
        match event:
            case Section(kind=SectionKind.START | SectionKind.FULL) if "/" in event.idstr:
                args = {
                    "kind": event.kind.name.lower(), "idstr": event.idstr, "size": event.body_size
                }  # fmt: skip
                seen = Seen(time.time_ns(), "main_section", args, connection.channel, event.idstr)
                self._record(seen)
            case MainCommand() if event.is_switchover:
                self.tell("switchover", connection.channel, offset=event.offset)
                self.feed(Told("switchover", event.offset))
            case StateEnd():
                self.tell("main_end", connection.channel, offset=event.offset)

    def source_ended(self, connection: Connection) -> None:
        """Nothing more comes from the source on a multifd channel."""
        if self._channels.get(connection.channel) is connection:
            self.feed(Ended(connection.channel))
        else:
            connection.end()

    def feed(self, event: Event) -> None:
        """Tell the chain, and do what it says.

        What happens meanwhile is told afterwards: a fault is never told two things at once.
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

    # -- what is done ----------------------------------------------------------------

    def _do(self, command: Command) -> None:
        match command:
            case Greet():
                self._hello = command.hello
            case Deliver():
                self._deliver(command.channel, command.packet)
            case DeliverRaw(channel, data):
                sent = partial(self.tell, "raw_out", channel, size=len(data))
                self._connection(channel).deliver(data, on_sent=sent)
            case End(channel):
                self._connection(channel).end()
            case Close(channel, is_abrupt):
                self._connection(channel).break_off(is_abrupt)
            case After(delay_s, token):
                self._after(delay_s, token)
            case StallMain() | ResumeMain():
                # Told while it stands still: nothing goes on before its record says so.
                flow = self._connection(MAIN).forward
                if isinstance(command, StallMain):
                    flow.pause(True)
                    self.tell("main_stalled", MAIN)
                else:
                    self.tell("main_resumed", MAIN)
                    flow.pause(False)
            case Note():
                self._note(command)

    def _deliver(self, channel: int, packet: DeviceStatePacket) -> None:
        # Heads and data apart: a MiB is not copied for the sake of 288 bytes.
        head = packet.pack_head()
        payload = packet.payload
        is_out = partial(self._packet, "packet_out", channel, packet)
        is_lost = partial(self._packet, "packet_lost", channel, packet)
        self._connection(channel).deliver(head, payload, on_sent=is_out, on_lost=is_lost)

    def _note(self, note: Note) -> None:
        args: dict[str, Any] = {
            "fault": self.chain.name_of(note.position),
            "position": note.position,
            "what": note.what,
        }
        device = ""
        if note.packet is not None:
            args["idx"] = note.packet.idx
            device = note.packet.device
        self._record(Seen(time.time_ns(), "fault", args, note.channel, device))

    def _packet(self, name: str, channel: int, packet: DeviceStatePacket) -> None:
        t_ns = time.time_ns()
        # As the destination will read it: a fault may have made a payload of its own.
        packet = DeviceStatePacket.unpack(packet.pack_head(), packet.payload)
        args = packet_args(packet, len(packet.data), digest_of(packet.data))
        if packet.is_config:
            args["marker"] = packet.data[:MARKER_SIZE].hex()
        kept = packet.data if self._keeps_payload else None
        self._record(Seen(t_ns, name, args, channel, packet.device, kept))

    def _connection(self, channel: int) -> Connection:
        found = self._channels.get(channel)
        if found is None:
            there = ", ".join(str(number) for number in sorted(self._channels))
            raise UsageError(f"a fault is about channel {channel}, there is {there or 'none'}")
        return found


class Passage:
    """What one connection tells its director (``multifd_flow.Watcher``, ``MainWatcher``)."""

    def __init__(self, director: Director, connection: Connection) -> None:
        self._director = director
        self._connection = connection

    def hello(self, hello: MultiFDInit) -> bytes:
        """The channel has said which it is; what is to be passed on for that."""
        return self._director.greeted(self._connection, hello).pack()

    def packet_arrived(self, packet: DeviceStatePacket) -> None:
        """A packet has come whole."""
        self._director.arrived(self._connection, packet)

    def packet_passed(self, head: StateHead, digest: str, t_in_ns: int) -> None:
        """A packet was cut through."""
        self._director.passed(self._connection, head, digest, t_in_ns)

    def between_packets(self) -> None:
        """A packet may go out now."""
        self._connection.deliver_deferred()

    def main_event(self, event: MainEvent) -> None:
        """The main channel has said something."""
        self._director.main_event(self._connection, event)

    def switchover_passed(self) -> None:
        """The destination gets the switchover."""
        self._director.feed(Told("switchover_passed"))

    def damaged(self, error: WireError) -> None:
        """The channel is passed on unread from here on."""
        self._director.tell("damaged", self._connection.channel, what=str(error))
