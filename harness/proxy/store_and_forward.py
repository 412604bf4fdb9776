"""Device-state packets are collected, and given to the chain."""

from dataclasses import replace

from harness.history import wire
from harness.proxy.connection import Connection
from harness.proxy.events import Arrived
from harness.proxy.executor import Executor
from harness.proxy.forwarder import END, MORE
from harness.proxy.multifd_forwarder import MultifdForwarder
from harness.wire.framing import Part, StateHead
from harness.wire.packets import DeviceStatePacket

PIECE = 256 << 10


class StoreAndForward(MultifdForwarder):
    """Where faults decide what becomes of packets."""

    def __init__(self, connection: Connection, executor: Executor, page_size: int = 4096) -> None:
        super().__init__(connection, executor, page_size)
        self._head = StateHead(b"", b"", 0)
        self._pieces: list[bytes] = []

    @property
    def wants_more(self) -> bool:
        """Also while this channel's outlet holds something: packets may go to others."""
        return self.is_open and not self.is_paused and not self.outlet.is_full

    def begin(self, head: StateHead, taken: bytes) -> None:
        self._head = head
        if not taken:
            taken = self.origin.recv(len(head.head) + len(head.state_header))
            self.framer.take_body(len(taken))
        if self.framer.part is Part.HEAD:
            self._finish()

    def read_data(self) -> int:
        data = self.origin.recv(min(self.framer.left, PIECE))
        if not data:
            return END
        self._pieces.append(data)
        if self.framer.take_body(len(data)):
            self._finish()
        return MORE

    def ended(self) -> None:
        if self.framer.part is Part.DATA:
            self.rest = b"".join((self._head.head, self._head.state_header, *self._pieces))
            self._pieces.clear()
        super().ended()

    def _finish(self) -> None:
        packet = DeviceStatePacket.unpack(self._head.head, self._head.state_header)
        if self._pieces:
            data = b"".join(self._pieces)
            packet = replace(packet, data=data, next_packet_size=None)
            self._pieces.clear()
        channel = self.connection.channel
        self.recorder.packet(wire.PacketIn, channel, packet)
        self.executor.feed(Arrived(channel, packet))
