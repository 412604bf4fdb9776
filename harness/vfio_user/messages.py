"""The codec of vfio-user messages, without I/O.

Layouts are those of ``docs/interop/vfio-user.rst`` of QEMU.  The payload of most messages is the
argument of the ioctl of the same name (``harness.vfio.uapi``).
"""

import enum
import json
import struct
from dataclasses import dataclass
from typing import Any, Final

from harness.vfio import uapi

MAJOR, MINOR = 0, 1
MOST_DATA: Final = 1 << 20
"""The default of max_data_xfer_size: most bytes of data in one message."""
MOST_FDS: Final = 8
"""Most descriptors in one message, of those that we send and receive."""
_MOST_SIZE: Final = 2 * MOST_DATA  # of a message; more is a peer that is out of step
_MOST_LIMIT: Final = 1 << 30  # of a limit that a peer names


class Command(enum.IntEnum):
    """The commands of the protocol."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    DIRTY_PAGES = 14
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


class Flag(enum.IntFlag):
    """Flags of a message's header; a message without REPLY is a command."""

    REPLY = 1 << 0
    NO_REPLY = 1 << 4
    ERROR = 1 << 5


class ProtocolError(ValueError):
    """A message that the protocol does not allow; ``str()`` says what is wrong with it."""


def name_of(command: int) -> str:
    """The command's name, or its number."""
    return Command(command).name if command in Command._value2member_map_ else str(command)


HEADER = struct.Struct("<2H3I")  # id command size flags error


@dataclass(frozen=True, slots=True)
class Header:
    """The 16 bytes in front of each message.

    :ivar size: of the message, with its header
    :ivar errno: of a reply with the flag ERROR
    """

    number: int
    command: int
    size: int
    flags: int = 0
    errno: int = 0

    @classmethod
    def parse(cls, data: bytes) -> "Header":
        """:raise ProtocolError: its size is impossible"""
        if len(data) != HEADER.size:
            raise ProtocolError(f"a header of {len(data)} bytes")
        header = cls(*HEADER.unpack(data))
        if not HEADER.size <= header.size <= _MOST_SIZE:
            raise ProtocolError(f"{name_of(header.command)} with a size of {header.size} bytes")
        return header

    @property
    def is_reply(self) -> bool:
        """Whether it answers a command."""
        return bool(self.flags & Flag.REPLY)

    @property
    def is_error(self) -> bool:
        """Whether it answers with an error."""
        return bool(self.flags & Flag.ERROR)

    @property
    def payload_size(self) -> int:
        """Bytes that follow the header."""
        return self.size - HEADER.size


def message(
    number: int, command: int, payload: bytes = b"", flags: int = 0, errno: int = 0
) -> bytes:
    """The bytes of one message."""
    return HEADER.pack(number, command, HEADER.size + len(payload), flags, errno) + payload


def _unpack(layout: struct.Struct, payload: bytes, what: str) -> tuple[Any, ...]:
    if len(payload) < layout.size:
        raise ProtocolError(f"{what} with {len(payload)} bytes, not {layout.size} or more")
    return layout.unpack_from(payload)


@dataclass(frozen=True, slots=True)
class Version:
    """What one end of a connection can do."""

    major: int = MAJOR
    minor: int = MINOR
    most_data: int = MOST_DATA
    most_fds: int = MOST_FDS

    _LAYOUT = struct.Struct("<2H")

    def pack(self) -> bytes:
        """As the payload of VERSION."""
        found = {"max_msg_fds": self.most_fds, "max_data_xfer_size": self.most_data}
        text = json.dumps({"capabilities": found}).encode()
        return self._LAYOUT.pack(self.major, self.minor) + text + b"\0"

    @classmethod
    def parse(cls, payload: bytes) -> "Version":
        """:raise ProtocolError: it is damaged"""
        major, minor = _unpack(cls._LAYOUT, payload, "VERSION")
        found = _capabilities(payload[cls._LAYOUT.size :])
        return cls(
            major,
            minor,
            _limit(found, "max_data_xfer_size", MOST_DATA),
            _limit(found, "max_msg_fds", 1),
        )


def _capabilities(text: bytes) -> dict[str, Any]:
    """Those of the version data, which may be missing."""
    if not text.rstrip(b"\0"):
        return {}
    try:
        data = json.loads(text.rstrip(b"\0").decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("VERSION with data that is no JSON") from error
    found = data.get("capabilities", {}) if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise ProtocolError("VERSION with data that is no object of capabilities")
    return found


def _limit(found: dict[str, Any], name: str, default: int) -> int:
    value = found.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST_LIMIT:
        raise ProtocolError(f"VERSION with {name} {str(value)[:40]}")
    return value


class MapFlag(enum.IntFlag):
    """Flags of DMA_MAP."""

    READ = 1 << 0
    WRITE = 1 << 1


@dataclass(frozen=True, slots=True)
class DmaMap:
    """DMA_MAP: memory of the client that the device can access.

    :ivar offset: in the descriptor that is sent with it, if one is
    """

    flags: int
    offset: int
    iova: int
    length: int

    _LAYOUT = struct.Struct("<2I3Q")

    def pack(self) -> bytes:
        """As a payload."""
        return self._LAYOUT.pack(self._LAYOUT.size, self.flags, self.offset, self.iova, self.length)

    @classmethod
    def parse(cls, payload: bytes) -> "DmaMap":
        """:raise ProtocolError: it is too short"""
        _, *fields = _unpack(cls._LAYOUT, payload, "DMA_MAP")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class DmaUnmap:
    """DMA_UNMAP: the end of a mapping."""

    iova: int
    length: int
    flags: int = 0

    _LAYOUT = struct.Struct("<2I2Q")

    def pack(self) -> bytes:
        """As a payload."""
        return self._LAYOUT.pack(self._LAYOUT.size, self.flags, self.iova, self.length)

    @classmethod
    def parse(cls, payload: bytes) -> "DmaUnmap":
        """:raise ProtocolError: it is too short"""
        _, flags, iova, length = _unpack(cls._LAYOUT, payload, "DMA_UNMAP")
        return cls(iova, length, flags)


@dataclass(frozen=True, slots=True)
class RegionAccess:
    """REGION_READ and REGION_WRITE: ``data`` is in the request of a write and the reply of a read.

    :ivar count: how much is accessed
    """

    region: int
    offset: int
    count: int
    data: bytes = b""

    _LAYOUT = struct.Struct("<Q2I")

    def pack(self) -> bytes:
        """As a payload."""
        return self._LAYOUT.pack(self.offset, self.region, self.count) + self.data

    @classmethod
    def parse(cls, payload: bytes, *, has_data: bool) -> "RegionAccess":
        """:raise ProtocolError: it is too short, or its count is impossible"""
        offset, region, count = _unpack(cls._LAYOUT, payload, "a region access")
        if count > MOST_DATA:
            raise ProtocolError(f"an access of {count} bytes to a region")
        data = _data(payload, cls._LAYOUT.size, count, "a region access") if has_data else b""
        return cls(region, offset, count, data)


def _data(payload: bytes, start: int, count: int, what: str) -> bytes:
    """What lies behind ``start``, which may be padded."""
    data = payload[start : start + count]
    if len(data) != count:
        raise ProtocolError(f"{what} of {count} bytes that has {len(data)}")
    return data


_ONE_WRITE = struct.Struct("<Q2I8s")
_COUNT = struct.Struct("<Q")


def parse_writes(payload: bytes) -> list[RegionAccess]:
    """The writes of REGION_WRITE_MULTI, of at most 8 bytes each.

    :raise ProtocolError: it is damaged
    """
    (number,) = _unpack(_COUNT, payload, "REGION_WRITE_MULTI")
    rest = payload[_COUNT.size :]
    if number > len(rest) // _ONE_WRITE.size:
        raise ProtocolError(f"REGION_WRITE_MULTI of {number} writes in {len(rest)} bytes")
    writes = []
    for offset, region, count, data in _ONE_WRITE.iter_unpack(rest[: number * _ONE_WRITE.size]):
        if count > len(data):
            raise ProtocolError(f"REGION_WRITE_MULTI with a write of {count} bytes")
        writes.append(RegionAccess(region, offset, count, data[:count]))
    return writes


@dataclass(frozen=True, slots=True)
class MigData:
    """MIG_DATA_READ and MIG_DATA_WRITE: a piece of the device's state.

    :ivar size: of it, or of what is asked for
    """

    size: int
    data: bytes = b""

    _LAYOUT = struct.Struct("<2I")

    def pack(self) -> bytes:
        """As a payload."""
        most = self._LAYOUT.size + self.size
        return self._LAYOUT.pack(most, self.size) + self.data

    @classmethod
    def parse(cls, payload: bytes, *, has_data: bool) -> "MigData":
        """:raise ProtocolError: it is too short, or its size is impossible"""
        _, size = _unpack(cls._LAYOUT, payload, "a piece of state")
        if size > MOST_DATA:
            raise ProtocolError(f"a piece of state of {size} bytes")
        data = _data(payload, cls._LAYOUT.size, size, "a piece of state") if has_data else b""
        return cls(size, data)


@dataclass(frozen=True, slots=True)
class DmaAccess:
    """DMA_READ and DMA_WRITE, which a server asks for."""

    address: int
    count: int
    data: bytes = b""

    _LAYOUT = struct.Struct("<2Q")

    def pack(self) -> bytes:
        """As a payload."""
        return self._LAYOUT.pack(self.address, self.count) + self.data

    @classmethod
    def parse(cls, payload: bytes, *, has_data: bool) -> "DmaAccess":
        """:raise ProtocolError: it is too short, or its count is impossible"""
        address, count = _unpack(cls._LAYOUT, payload, "a DMA access")
        if count > MOST_DATA:
            raise ProtocolError(f"a DMA access of {count} bytes")
        data = _data(payload, cls._LAYOUT.size, count, "a DMA access") if has_data else b""
        return cls(address, count, data)


DEVICE_INFO: Final = struct.Struct("<4I")  # argsz flags num_regions num_irqs
IRQ_SET: Final = struct.Struct("<5I")  # argsz flags index start count; data follow


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """What a server answers to DEVICE_GET_REGION_INFO, without its capabilities."""

    flags: int
    index: int
    size: int
    offset: int

    @classmethod
    def parse(cls, payload: bytes) -> "RegionInfo":
        """:raise ProtocolError: it is too short"""
        fields = _unpack(uapi.REGION_INFO, payload, "DEVICE_GET_REGION_INFO")
        _, flags, index, _, size, offset = fields
        return cls(flags, index, size, offset)


def unpacked(layout: struct.Struct, payload: bytes, command: Command) -> tuple[Any, ...]:
    """The fields of a reply to ``command``.

    :raise ProtocolError: it is too short
    """
    return _unpack(layout, payload, command.name)
