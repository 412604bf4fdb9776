"""The source's direction of a multifd channel: device-state packets are seen, RAM is not."""

import socket
from typing import ClassVar

from harness.errors import WireError
from harness.history import wire
from harness.proxy.connection import Connection
from harness.proxy.events import Greeted
from harness.proxy.executor import Executor
from harness.proxy.forwarder import DRY, END, MORE, Forwarder
from harness.wire.framing import Framer, Part, StateHead
from harness.wire.packets import MultiFDInit

HEADS = 16
"""Of RAM packets without pages, looked at together."""


class MultifdForwarder(Forwarder):
    """Passes on everything but hellos, which go to the chain, and device-state packets, which
    a subclass deals with.

    :param page_size: of the target; it decides the length of a RAM packet's head
    """

    is_multifd: ClassVar[bool] = True

    def __init__(self, connection: Connection, executor: Executor, page_size: int = 4096) -> None:
        super().__init__(connection.source, connection.to_destination, connection.changed)
        self.connection = connection
        self.executor = executor
        self.recorder = executor.recorder
        self.framer = Framer(f"source, connection {connection.number}", page_size)
        self._steps = (self._read_head, self.pass_body, self.read_data, super().step)  # as Part
        self._look_at = self.framer.longest_head

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
        return self.framer.part is Part.PAGES

    def step(self) -> int:
        return self._steps[self.framer.part]()

    def take(self, data: bytes) -> None:
        """Pass on bytes of a head."""
        try:
            unit = self.framer.take_head(data)
        except WireError as error:
            self._damaged(error)
            self.outlet.write(self.framer.taken)
            return
        match unit:
            case None:
                return
            case StateHead():
                self.begin(unit, self.framer.taken)
                return
            case MultiFDInit():
                self._greeted(unit)
            case _:
                self.outlet.write(self.framer.taken)
        if not self.is_inside:
            self.connection.deliver_deferred()

    def ended(self) -> None:
        """Part of a head, if there is one, is the rest.

        Neither that nor the end itself is passed on here: packets that came before may still
        have to be delivered.
        """
        try:
            self.framer.check_end()
        except WireError as error:
            self._damaged(error)
        self.rest += self.framer.partial

    def _greeted(self, hello: MultiFDInit) -> None:
        self.connection.show(hello)
        self.executor.opened(self.connection)
        self.executor.feed(Greeted(self.connection.channel, hello))

    def _damaged(self, error: WireError) -> None:
        self.recorder.record(wire.Damaged(what=str(error)), self.connection.channel)

    def pass_body(self) -> int:
        """Pass on what is there of a body, and of heads that were only looked at."""
        left = self.framer.left
        taken = self.outlet.splice(self.origin, left)
        if not taken:
            return END
        if self.framer.take_body(taken):
            self.connection.deliver_deferred()
        return MORE if taken == left else DRY

    def _read_head(self) -> int:
        """Look at it, so that it goes with its body; take it if looking is not enough."""
        data = self.origin.recv(self._look_at, socket.MSG_PEEK)
        if self.framer.look_at_ram(data):
            # Heads that have no pages come close together: look at several at once.
            is_bare = self.framer.left <= len(data)
            self._look_at = self.framer.longest_head * (HEADS if is_bare else 1)
        elif head := self.framer.look_at_state(data):
            self.begin(head, b"")
        elif data:
            self.take(self.origin.recv(self.framer.left))
        return MORE if data else END
