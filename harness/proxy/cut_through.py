"""Device-state packets are passed on as they come, and recorded.

Their data goes from socket to socket in the kernel, as pages do.  Where a digest is wanted, it
is looked at where it lies in the origin's socket before it is spliced on: that is one copy
where receiving and sending would be two.
"""

import socket

import xxhash

from harness.proxy.connection import Connection
from harness.proxy.executor import Executor
from harness.proxy.forwarder import DRY, END, MORE
from harness.proxy.multifd_forwarder import MultifdForwarder
from harness.wire.framing import Part, StateHead
from harness.wire.packets import DeviceStatePacket

PIECE = 256 << 10
"""Stays in the processor's cache between the copy and the digest."""


class CutThrough(MultifdForwarder):
    """Where no fault touches packets, and the digest of their data is not needed."""

    def __init__(self, connection: Connection, executor: Executor, page_size: int = 4096) -> None:
        super().__init__(connection, executor, page_size)
        self.head = StateHead(b"", b"", 0)

    def begin(self, head: StateHead, taken: bytes) -> None:
        self.head = head
        if taken:
            self.outlet.write(taken)
        if self.framer.part is Part.HEAD:
            self.finish()

    def read_data(self) -> int:
        came = self.pass_body()
        if self.framer.part is Part.HEAD:
            self.finish()
        return came

    @property
    def digest(self) -> str | None:
        """Of the data that has passed; None if none is wanted."""
        return None

    def finish(self) -> None:
        """The packet's last byte has come: record it, now and when it is out."""
        packet = DeviceStatePacket.unpack(self.head.head, self.head.state_header)
        is_out = self.recorder.passing(
            self.connection.channel, packet, self.head.data_size, self.digest
        )
        if self.outlet.held:
            self.outlet.write(on_sent=is_out)
        else:
            is_out()


class DigestingCutThrough(CutThrough):
    """Where no fault touches packets, and the digest of their data is recorded.

    :param scratch: ``PIECE`` bytes that are free between two calls
    """

    def __init__(
        self, connection: Connection, executor: Executor, page_size: int, scratch: memoryview
    ) -> None:
        super().__init__(connection, executor, page_size)
        self._scratch = scratch
        self._head_left = 0  # bytes of the head that are still to come, and not for the digest
        self._ahead = 0  # bytes that were looked at and not passed on yet
        self._xxh3 = xxhash.xxh3_128()

    @property
    def digest(self) -> str:
        return self._xxh3.hexdigest()

    def begin(self, head: StateHead, taken: bytes) -> None:
        self._xxh3.reset()
        self._head_left = 0 if taken else len(head.head) + len(head.state_header)
        super().begin(head, taken)

    def read_data(self) -> int:
        if not self._ahead:
            self._look()
        taken = self.outlet.splice(self.origin, self._ahead) if self._ahead else 0
        if not taken:
            return END
        self._ahead -= taken
        if self.framer.take_body(taken):
            self.finish()
            return MORE
        return MORE if taken == PIECE else DRY

    def _look(self) -> None:
        view = self._scratch[: self.framer.left]
        self._ahead = self.origin.recv_into(view, 0, socket.MSG_PEEK)
        self._xxh3.update(view[self._head_left : self._ahead])
        self._head_left = max(self._head_left - self._ahead, 0)
