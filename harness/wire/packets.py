"""The packets of a multifd channel.

A packet keeps every field of its headers, including reserved ones and stated lengths.  So it
packs to the bytes it was unpacked from, and any field can be made wrong on purpose with
``dataclasses.replace``.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

MAGIC: Final = 0x11223344
VERSION: Final = 1
FLAG_SYNC: Final = 1 << 0
FLAG_COMPRESSION_MASK: Final = 0x1F << 1
FLAG_DEVICE_STATE: Final = 1 << 6
IDSTR_SIZE: Final = 256
RAMBLOCK_SIZE: Final = 256
PACKET_SIZE: Final = 512 * 1024  # MULTIFD_PACKET_SIZE: pages of one RAM packet

STATE_VERSION: Final = 0  # VFIO_DEVICE_STATE_PACKET_VER_CURRENT
STATE_CONFIG: Final = 1 << 0  # VFIO_DEVICE_STATE_CONFIG_STATE
INVALID_IDX: Final = 0xFFFFFFFF


def _layout(fmt: str, size: int) -> struct.Struct:
    layout = struct.Struct(">" + fmt)
    if layout.size != size:
        raise AssertionError(f"layout {fmt!r} has {layout.size} bytes, QEMU's has {size}")
    return layout


HELLO: Final = _layout("2I16sB7s32s", 64)
HEADER: Final = _layout("3I", 12)
_RAM: Final = _layout("3IQ2I24s256s", 308)
_DEVICE_STATE: Final = _layout("256s2I", 264)
_STATE: Final = _layout("3I", 12)
DEVICE_STATE_HEAD_SIZE: Final = HEADER.size + _DEVICE_STATE.size
STATE_HEADER_SIZE: Final = _STATE.size
"""VFIO's own header, at the start of a payload that has room for it."""


def ram_head_size(page_size: int) -> int:
    """Bytes of a RAM packet before its pages, for the target's ``page_size``."""
    return HEADER.size + _RAM.size + 8 * (PACKET_SIZE // page_size)


@dataclass(frozen=True, slots=True)
class MultiFDInit:
    """The hello: the first packet of each channel."""

    channel_id: int
    uuid: bytes = bytes(16)
    magic: int = MAGIC
    version: int = VERSION
    unused: bytes = bytes(7)
    unused2: bytes = bytes(32)

    @classmethod
    def unpack(cls, data: bytes) -> "MultiFDInit":
        """From the 64 bytes ``data``."""
        magic, version, uuid, channel_id, unused, unused2 = HELLO.unpack(data)
        return cls(channel_id, uuid, magic, version, unused, unused2)

    def pack(self) -> bytes:
        """Its 64 bytes."""
        return HELLO.pack(
            self.magic, self.version, self.uuid, self.channel_id, self.unused, self.unused2
        )


@dataclass(frozen=True, slots=True)
class RamPacket:
    """Head of a RAM packet (or of a lone SYNC); ``next_packet_size`` bytes of pages follow it.

    The pages are not part of it, and never kept.
    """

    flags: int
    pages_alloc: int
    normal_pages: int
    next_packet_size: int
    packet_num: int
    zero_pages: int
    ramblock: bytes
    offsets: bytes = field(repr=False)
    unused32: int = 0
    unused64: bytes = bytes(24)
    magic: int = MAGIC
    version: int = VERSION

    @property
    def is_sync(self) -> bool:
        """Whether it carries the SYNC flag."""
        return bool(self.flags & FLAG_SYNC)

    @classmethod
    def unpack(cls, data: bytes) -> "RamPacket":
        """From its head, of :func:`ram_head_size` bytes."""
        magic, version, flags = HEADER.unpack_from(data)
        alloc, normal, size, num, zero, unused32, unused64, ramblock = _RAM.unpack_from(
            data, HEADER.size
        )
        return cls(
            flags, alloc, normal, size, num, zero, ramblock, data[HEADER.size + _RAM.size :],
            unused32, unused64, magic, version,
        )  # fmt: skip

    def pack(self) -> bytes:
        """Its head's bytes."""
        fixed = _RAM.pack(
            self.pages_alloc, self.normal_pages, self.next_packet_size, self.packet_num,
            self.zero_pages, self.unused32, self.unused64, self.ramblock,
        )  # fmt: skip
        return HEADER.pack(self.magic, self.version, self.flags) + fixed + self.offsets


@dataclass(frozen=True, slots=True)
class DeviceStatePacket:
    """One packet of a device's state: channel header, device header and data.

    ``idx``, ``state_version`` and ``state_flags`` are those of VFIO's own header inside the
    payload.  A payload too short for that header is kept in ``data`` with ``idx`` None.
    """

    idstr: bytes
    """As on the wire: 256 bytes, NUL-terminated if it is correct."""
    instance_id: int
    idx: int | None
    data: bytes = field(repr=False)
    state_flags: int = 0
    state_version: int = STATE_VERSION
    flags: int = FLAG_DEVICE_STATE
    next_packet_size: int | None = None
    """Stated payload length; None if it is the true one."""
    magic: int = MAGIC
    version: int = VERSION

    @property
    def device(self) -> str:
        """``idstr`` up to its NUL, as text."""
        return self.idstr.split(b"\0", 1)[0].decode(errors="backslashreplace")

    @property
    def is_config(self) -> bool:
        """Whether it is flagged CONFIG_STATE."""
        return bool(self.state_flags & STATE_CONFIG)

    @property
    def payload(self) -> bytes:
        """VFIO's header and the data."""
        return self._state_header() + self.data

    @classmethod
    def unpack(cls, head: bytes, payload: bytes) -> "DeviceStatePacket":
        """From its 276 bytes of head and the payload behind it."""
        magic, version, flags = HEADER.unpack_from(head)
        idstr, instance_id, size = _DEVICE_STATE.unpack_from(head, HEADER.size)
        stated = None if size == len(payload) else size
        if len(payload) < STATE_HEADER_SIZE:
            return cls(idstr, instance_id, None, payload, 0, 0, flags, stated, magic, version)
        state_version, idx, state_flags = _STATE.unpack_from(payload)
        return cls(
            idstr, instance_id, idx, payload[STATE_HEADER_SIZE:], state_flags, state_version, flags,
            stated, magic, version,
        )  # fmt: skip

    def pack_head(self) -> bytes:
        """Its 276 bytes of head."""
        payload = len(self.data) + (STATE_HEADER_SIZE if self.idx is not None else 0)
        size = payload if self.next_packet_size is None else self.next_packet_size
        return HEADER.pack(self.magic, self.version, self.flags) + _DEVICE_STATE.pack(
            self.idstr, self.instance_id, size
        )

    def pack_heads(self) -> bytes:
        """All of its bytes but the data: its head, and VFIO's header if it has one."""
        return self.pack_head() + self._state_header()

    def pack(self) -> bytes:
        """All of its bytes."""
        return self.pack_heads() + self.data

    def _state_header(self) -> bytes:
        if self.idx is None:
            return b""
        return _STATE.pack(self.state_version, self.idx, self.state_flags)


def stated_payload_size(head: bytes) -> int:
    """``next_packet_size`` of a device-state packet's head."""
    return int(_DEVICE_STATE.unpack_from(head, HEADER.size)[2])
