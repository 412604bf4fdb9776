"""Bytes of one multifd channel, in pieces of any size, become packets.

``feed`` what was received, then call ``next`` until it returns ``NEED_DATA``.  The pages of
RAM packets come out as ``Pages``, in the pieces they came in, so that none are held;
device-state packets come out complete.
"""

from dataclasses import dataclass

from harness.wire.framing import Framer, Part, StateHead
from harness.wire.packets import DeviceStatePacket, MultiFDInit, RamPacket
from harness.wire.reader import NEED_DATA, Need, Reader


@dataclass(frozen=True, slots=True)
class Pages:
    """A piece of a RAM packet's pages."""

    data: bytes


Unit = MultiFDInit | RamPacket | DeviceStatePacket | Pages


class ChannelReader(Reader[Unit]):
    """Reads one direction of one multifd channel.

    :param where: side and channel, for messages
    :param page_size: of the target; it decides the length of a RAM packet's head
    """

    def __init__(self, where: str, page_size: int = 4096) -> None:
        super().__init__(where)
        self._framer = Framer(where, page_size)
        self._state: StateHead | None = None  # of the packet whose data is still to come

    def close(self) -> None:
        """The channel has ended.

        :raise WireError: inside a packet
        """
        self._framer.check_end()

    def _next(self) -> Unit | Need:
        while self.buffered:
            if self._state is not None:
                return self._data(self._state)
            if self._framer.part is Part.PAGES:
                return self._pages()
            match self._framer.take_head(self._take(self._framer.left)):
                case StateHead(data_size=0) as state:
                    return DeviceStatePacket.unpack(state.head, state.state_header)
                case StateHead() as state:
                    self._state = state
                case MultiFDInit() | RamPacket() as unit:
                    return unit
        return NEED_DATA

    def _data(self, state: StateHead) -> DeviceStatePacket | Need:
        if self.buffered < state.data_size:
            return NEED_DATA
        self._framer.take_body(state.data_size)
        self._state = None
        data = self._take(state.data_size)
        return DeviceStatePacket.unpack(state.head, state.state_header + data)

    def _pages(self) -> Pages:
        data = self._take(self._framer.left)
        self._framer.take_body(len(data))
        return Pages(data)

    def _take(self, most: int) -> bytes:
        """At most so many of the bytes that are buffered."""
        data = bytes(memoryview(self._buffer)[self._at :][:most])
        self._skip_over(len(data))
        return data
