"""Where packets begin and end on a multifd channel, without holding their bodies.

``wire.channel`` gives whole packets and copies them on the way; a relay that is to be as
fast as no relay passes bodies on as they come, and looks at heads only.  Layouts and
limits are those of ``wire``.
"""

import enum
from dataclasses import dataclass

from harness.errors import WireError
from harness.wire.channel import PAGES_LIMIT, PAYLOAD_LIMIT
from harness.wire.packets import (
    DEVICE_STATE_HEAD_SIZE,
    FLAG_DEVICE_STATE,
    HEADER,
    HELLO,
    MAGIC,
    VERSION,
    MultiFDInit,
    RamPacket,
    ram_head_size,
    stated_payload_size,
)

STATE_HEADER_SIZE = 12
"""VFIO's own header, which is taken as part of the head where the payload has it."""


class Part(enum.IntEnum):
    """What the channel's next bytes are."""

    HEAD = 0
    PAGES = 1
    """Pages of a RAM packet, and its head if that was only looked at."""
    DATA = 2
    """Data of a device-state packet, likewise."""
    RAW = 3
    """Anything: the channel was damaged before."""


@dataclass(frozen=True, slots=True)
class StateHead:
    """Head of a device-state packet."""

    head: bytes
    """The channel's 276 bytes."""
    state_header: bytes
    """VFIO's header, or all of a payload that is shorter."""
    data_size: int


Head = MultiFDInit | RamPacket | StateHead


class Framer:
    """Is given a channel's bytes part by part, never more than ``left`` of one.

    :param where: side and channel, for messages
    :ivar part: what comes next
    :ivar left: bytes of it that are still to come; of RAW, none are counted
    :ivar taken: bytes of the head that ``take_head`` has given last; after damage, the
        bytes that were taken and are no head
    """

    def __init__(self, where: str, page_size: int = 4096) -> None:
        self.where = where
        self.part = Part.HEAD
        self.left = HELLO.size
        self.taken = b""
        self._head = bytearray()
        self._is_hello = True
        self._offset = 0
        self._ram_head_size = ram_head_size(page_size)

    @property
    def partial(self) -> bytes:
        """Bytes of a head that is not whole yet."""
        return bytes(self._head)

    @property
    def longest_head(self) -> int:
        """Bytes of the longest head there is."""
        return self._ram_head_size

    def take_head(self, data: bytes) -> Head | None:
        """More bytes of a head; what it is, once it is whole.

        :raise WireError: the channel is damaged here; from now on it is RAW
        """
        self._head += data
        try:
            unit, size = self._look(bytes(self._head))
        except WireError:
            self.part, self.left = Part.RAW, 0
            self._finish_head()
            raise
        if unit is None:
            self.left = size - len(self._head)
            return None
        self._finish_head()
        self._begin_body(unit, 0)
        return unit

    def look_at_head(self, data: bytes) -> RamPacket | StateHead | None:
        """The head that ``data`` begins with, if it is whole; its bytes are then taken with
        the body.

        None: they are to be taken before it can be told; damage too is found then.
        """
        if self._head or self._is_hello:
            return None
        try:
            unit, size = self._look(data)
        except WireError:
            return None
        if unit is None or isinstance(unit, MultiFDInit):
            return None
        self._begin_body(unit, size)
        return unit

    def take_body(self, size: int) -> bool:
        """So many bytes of the body came; whether it is whole."""
        self._offset += size
        self.left -= size
        if self.left:
            return False
        self._begin_head()
        return True

    def _finish_head(self) -> None:
        self.taken = bytes(self._head)
        self._head.clear()
        self._offset += len(self.taken)
        self._is_hello = False

    def _begin_head(self) -> None:
        self.part = Part.HEAD
        self.left = DEVICE_STATE_HEAD_SIZE  # a RAM packet's is longer

    def _begin_body(self, unit: Head, head_size: int) -> None:
        self._begin_head()
        if isinstance(unit, RamPacket) and head_size + unit.next_packet_size:
            self.part, self.left = Part.PAGES, head_size + unit.next_packet_size
        elif isinstance(unit, StateHead) and head_size + unit.data_size:
            self.part, self.left = Part.DATA, head_size + unit.data_size

    def _look(self, head: bytes) -> tuple[Head | None, int]:
        """The head, if it is whole, and how long it is as far as that is known.

        Of a hello, and of a head that is taken, ``head`` has not more than ``left`` asked for.
        """
        if len(head) < HEADER.size:
            return None, HELLO.size if self._is_hello else DEVICE_STATE_HEAD_SIZE
        magic, version, flags = HEADER.unpack_from(head)
        if magic != MAGIC:
            raise self._damage(f"magic {magic:#010x}, not {MAGIC:#010x}")
        if version != VERSION:
            raise self._damage(f"version {version}, not {VERSION}")
        if self._is_hello:
            return (MultiFDInit.unpack(head) if len(head) == HELLO.size else None), HELLO.size
        if not flags & FLAG_DEVICE_STATE:
            return self._look_at_ram(head), self._ram_head_size
        if len(head) < DEVICE_STATE_HEAD_SIZE:
            return None, DEVICE_STATE_HEAD_SIZE
        return self._look_at_state(head)

    def _look_at_state(self, head: bytes) -> tuple[StateHead | None, int]:
        payload = stated_payload_size(head)
        if payload > PAYLOAD_LIMIT:
            raise self._damage(f"device state of {payload} bytes, more than {PAYLOAD_LIMIT}")
        size = DEVICE_STATE_HEAD_SIZE + min(payload, STATE_HEADER_SIZE)
        if len(head) < size:
            return None, size
        channel_head, state_header = (
            head[:DEVICE_STATE_HEAD_SIZE],
            head[DEVICE_STATE_HEAD_SIZE:size],
        )
        return StateHead(channel_head, state_header, max(payload - STATE_HEADER_SIZE, 0)), size

    def _look_at_ram(self, head: bytes) -> RamPacket | None:
        if len(head) < self._ram_head_size:
            return None
        packet = RamPacket.unpack(head[: self._ram_head_size])
        if packet.next_packet_size > PAGES_LIMIT:
            raise self._damage(f"pages of {packet.next_packet_size} bytes, more than {PAGES_LIMIT}")
        return packet

    def _damage(self, what: str) -> WireError:
        return WireError(f"{self.where}, byte {self._offset}: {what}")
