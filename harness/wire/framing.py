"""Where the units of a multifd channel begin and end: heads are parsed, bodies only counted.

The framer holds no body, so that a relay can pass bodies on as they come.  ``wire.channel``
builds complete packets on it.
"""

import enum
import struct
from dataclasses import dataclass
from typing import Final

from harness.errors import WireError
from harness.wire.packets import (
    DEVICE_STATE_HEAD_SIZE,
    FLAG_DEVICE_STATE,
    HEADER,
    HELLO,
    MAGIC,
    PACKET_SIZE,
    STATE_HEADER_SIZE,
    VERSION,
    MultiFDInit,
    RamPacket,
    ram_head_size,
    stated_payload_size,
)

PAYLOAD_LIMIT: Final = (1 << 20) + (64 << 10)
"""Largest payload of a device-state packet: QEMU sends at most 1 MiB of data
(VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE) and its header; a configuration has a few KiB."""
PAGES_LIMIT: Final = 1 << 20
"""Largest ``next_packet_size`` of a RAM packet: 512 KiB of pages, or the output of a
compressor that cannot shrink them."""
_RAM_START = struct.Struct(">6I")
"""Magic, version, flags, pages_alloc, normal_pages and next_packet_size of a RAM packet."""


class Part(enum.IntEnum):
    """What the channel's next bytes are."""

    HEAD = 0
    PAGES = 1
    """Pages of a RAM packet, behind its head, and others without pages, if these were only
    looked at."""
    DATA = 2
    """Data of a device-state packet, behind its head if that was only looked at."""
    RAW = 3
    """Anything: the channel is damaged."""


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
    """Takes a channel's bytes part by part, never more than ``left`` of one.

    :param where: side and channel, for messages
    :param page_size: of the target; it decides the length of a RAM packet's head
    :ivar part: what comes next
    :ivar left: bytes of it that are still to come; 0 of RAW, where none are counted
    :ivar taken: bytes of the last head that ``take_head`` has returned; after damage, the
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
        self._pages_alloc = PACKET_SIZE // page_size
        self._ram_head_size = ram_head_size(page_size)

    @property
    def partial(self) -> bytes:
        """Bytes of a head that is not complete yet."""
        return bytes(self._head)

    @property
    def longest_head(self) -> int:
        """Bytes of the longest head there is."""
        return self._ram_head_size

    def take_head(self, data: bytes) -> Head | None:
        """Take more bytes of a head; return it once it is complete.

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

    def look_at_ram(self, data: bytes) -> bool:
        """Whether ``data`` begins with the complete head of a RAM packet.

        Its bytes then come again, in front of its pages; so do those of more such heads, up
        to one that has pages.
        """
        if self._head or self._is_hello:
            return False
        at = pages = 0
        last = len(data) - self._ram_head_size
        while not pages and at <= last:
            magic, version, flags, alloc, _, size = _RAM_START.unpack_from(data, at)
            if (
                (magic, version) != (MAGIC, VERSION)
                or flags & FLAG_DEVICE_STATE
                or size > PAGES_LIMIT
                or alloc not in (0, self._pages_alloc)
            ):
                break
            pages = size
            at += self._ram_head_size
        if at:
            self.part, self.left = Part.PAGES, at + pages
        return at > 0

    def look_at_state(self, data: bytes) -> StateHead | None:
        """The head of a device-state packet that ``data`` begins with, if it is complete.

        Its bytes then come again, in front of the packet's data.
        """
        if self._head or self._is_hello:
            return None
        try:
            unit, size = self._look(data)
        except WireError:
            return None
        if not isinstance(unit, StateHead):
            return None
        self._begin_body(unit, size)
        return unit

    def take_body(self, size: int) -> bool:
        """So many bytes of the body came; whether it is complete."""
        self._offset += size
        self.left -= size
        if self.left:
            return False
        self._begin_head()
        return True

    def check_end(self) -> None:
        """The channel has ended.

        :raise WireError: inside a packet
        """
        if self._head or self.part in (Part.PAGES, Part.DATA):
            raise self._damage("ends inside a packet")

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
        """The head, if it is complete, and its length as far as that is known.

        Of a hello, and of a head that is taken, ``head`` is never longer than ``left`` allows.
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
        if packet.pages_alloc not in (0, self._pages_alloc):  # 0: a lone SYNC
            raise self._damage(
                f"a RAM packet for {packet.pages_alloc} pages, not {self._pages_alloc}: "
                "this QEMU has another page size or another MULTIFD_PACKET_SIZE"
            )
        return packet

    def _damage(self, what: str) -> WireError:
        return WireError(f"{self.where}, byte {self._offset}: {what}")
