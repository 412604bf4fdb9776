"""Device-state packets are taken whole, and handed over."""

import socket
from collections.abc import Callable
from dataclasses import replace

from harness.proxy.flow import END, MORE
from harness.proxy.multifd_flow import MultifdFlow, Watcher
from harness.proxy.outlet import Outlet
from harness.wire.framing import Framer, Part, StateHead
from harness.wire.packets import DeviceStatePacket

PIECE = 256 << 10


class WholePacketsFlow(MultifdFlow):
    """Where faults decide what becomes of packets."""

    def __init__(
        self,
        origin: socket.socket,
        outlet: Outlet,
        changed: Callable[[], None],
        framer: Framer,
        watcher: Watcher,
    ) -> None:
        super().__init__(origin, outlet, changed, framer, watcher)
        self._head = StateHead(b"", b"", 0)
        self._pieces: list[bytes] = []

    @property
    def wants_more(self) -> bool:
        """What is held of this channel says little: packets may go to others."""
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
        self.watcher.packet_arrived(packet)
