"""The source's direction of a multifd channel: device-state packets are seen, RAM is not."""

import socket
from collections.abc import Callable
from typing import Protocol

from harness.errors import WireError
from harness.proxy.flow import DRY, END, MORE, Flow
from harness.proxy.outlet import Outlet
from harness.wire.framing import Framer, Part, StateHead
from harness.wire.packets import DeviceStatePacket, MultiFDInit


class Watcher(Protocol):
    """What is told of a channel's packets."""

    def hello(self, hello: MultiFDInit) -> bytes:
        """The channel has said which it is; what is to be passed on for that."""

    def packet_arrived(self, packet: DeviceStatePacket) -> None:
        """A packet has come whole and waits for what is to be done with it."""

    def packet_passed(self, head: StateHead, digest: str, t_in_ns: int) -> None:
        """A packet has been passed on; it had come whole at ``t_in_ns``."""

    def between_packets(self) -> None:
        """Pages have been passed on; a packet may go out now."""

    def damaged(self, error: WireError) -> None:
        """What came is not a multifd channel; from now on it is passed on unread."""


class MultifdFlow(Flow):
    """Passes on everything but device-state packets, which are for a subclass to deal with."""

    def __init__(
        self,
        origin: socket.socket,
        outlet: Outlet,
        changed: Callable[[], None],
        framer: Framer,
        watcher: Watcher,
    ) -> None:
        super().__init__(origin, outlet, changed)
        self.framer = framer
        self.watcher = watcher
        self.rest = b""
        """Part of a packet that the source ended in: goes last of all, past the faults."""
        self._steps = (self._read_head, self._pass_pages, self.read_data, super().step)  # as Part

    def begin(self, head: StateHead, taken: bytes) -> None:
        """A device-state packet begins.

        :param taken: its head, if that was taken already; else it comes with the data
        """
        raise NotImplementedError

    def read_data(self) -> int:
        """A step inside a device-state packet."""
        raise NotImplementedError

    @property
    def is_inside(self) -> bool:
        """Whether a packet is partly out, so that no other may go out yet."""
        return self.framer.part is Part.PAGES

    def step(self) -> int:
        return self._steps[self.framer.part]()

    def take_head(self, data: bytes) -> None:
        """Bytes of a head that were received."""
        try:
            unit = self.framer.take_head(data)
        except WireError as error:
            self.watcher.damaged(error)
            self.outlet.write(self.framer.taken)
            return
        if isinstance(unit, StateHead):
            self.begin(unit, self.framer.taken)
        elif unit is not None:
            taken = self.framer.taken
            self.outlet.write(self.watcher.hello(unit) if isinstance(unit, MultiFDInit) else taken)
            if not self.is_inside:
                self.watcher.between_packets()

    def ended(self) -> None:
        """Part of a head, if there is one, is the rest.

        Neither that nor the end itself is passed on here: packets that came before may still
        have to be delivered.
        """
        try:
            self.framer.check_end()
        except WireError as error:
            self.watcher.damaged(error)
        self.rest += self.framer.partial

    def _read_head(self) -> int:
        """Look at it, so that it goes with its body; take it if that tells too little."""
        data = self.origin.recv(self.framer.longest_head, socket.MSG_PEEK)
        unit = self.framer.look_at_head(data)
        if isinstance(unit, StateHead):
            self.begin(unit, b"")
        elif unit is None and data:
            self.take_head(self.origin.recv(self.framer.left))
        return MORE if data else END

    def _pass_pages(self) -> int:
        left = self.framer.left
        taken = self.outlet.splice(self.origin, left)
        if not taken:
            return END
        if self.framer.take_body(taken):
            self.watcher.between_packets()
        return MORE if taken == left else DRY
