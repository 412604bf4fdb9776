"""Bytes of the main channel, in pieces of any size, become events with offsets.

``feed`` what was received, then call ``next`` until it returns ``NEED_DATA``.  The layout is
that of QEMU's ``migration/savevm.c`` and ``savevm.h`` (10.0 to 11.1); integers are
big-endian:

================  ====  ==============================================================
unit              type  behind the type byte
================  ====  ==============================================================
file header       --    first, without a type: u32 ``QEVM``, u32 version 3
CONFIGURATION     0x07  second; u32 length, machine type, then subsections: 0x05, u8
                        length, name, u32 version, fields; no footer
SECTION_START     0x01  u32 section id, u8 length, idstr, u32 instance id, u32 version
                        id; body; footer
SECTION_FULL      0x04  as SECTION_START
SECTION_PART      0x02  u32 section id; body; footer
SECTION_END       0x03  as SECTION_PART
COMMAND           0x08  u16 number, u16 length, that many bytes
EOF               0x00  --
VMDESCRIPTION     0x06  behind EOF, optional; u32 length, that many bytes of JSON
footer            0x7E  u32 section id
================  ====  ==============================================================

The length of a section's body is not on the wire: only QEMU's loader of that section knows
it.  This reader takes a body to end at the first footer with the section's id that is
followed by the beginning of a legal unit.  So it finds every end that there is; a footer
that is missing or has another id looks like a body that never ends.  But bytes of a body
that happen to look like a footer and a unit are taken for them: about once in 2**46 random
bytes, at a ``~`` with five zeros behind it in section 0, and always in a body that holds a
migration stream.  Bodies are not parsed, and damage inside one is not seen.

A section is returned when the unit behind it has begun, up to ``LOOK_AHEAD`` bytes late.
"""

import enum
import struct
from dataclasses import dataclass, replace
from typing import Final

from harness.wire.reader import NEED_DATA, Incomplete, Need, Reader

MAGIC: Final = 0x5145564D  # "QEVM"
VERSION: Final = 3
EOF: Final = 0x00
SUBSECTION: Final = 0x05
VMDESCRIPTION: Final = 0x06
CONFIGURATION: Final = 0x07
COMMAND: Final = 0x08
FOOTER: Final = 0x7E

FOOTER_SIZE: Final = 5
LOOK_AHEAD: Final = 6
"""Bytes behind a footer that are checked, to confirm that it is one."""
MACHINE_LIMIT: Final = 255
"""Longest name of a machine type that is accepted; those of QEMU have about 20 bytes."""
CAPABILITIES_LIMIT: Final = 64
"""Most capabilities that are accepted; QEMU 10.0 to 11.1 send at most two."""
STARTED_LIMIT: Final = 1024
"""Most sections that may start: one for RAM and one for each device with iterable state."""
HELD_LIMIT: Final = 64 << 10
"""Once ``next`` has returned ``NEED_DATA``, fewer bytes are held: no body is kept, and the
longest unit that must be complete is a CONFIGURATION at the limits above."""


class SectionKind(enum.IntEnum):
    """The type byte of a section."""

    START = 1
    PART = 2
    END = 3
    FULL = 4


class CommandNumber(enum.IntEnum):
    """``enum qemu_vm_cmd``."""

    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


_COMMANDS: Final = {number.value: number for number in CommandNumber}
COMMAND_SIZES: Final = {
    CommandNumber.OPEN_RETURN_PATH: 0,
    CommandNumber.PING: 4,
    CommandNumber.POSTCOPY_LISTEN: 0,
    CommandNumber.POSTCOPY_RUN: 0,
    CommandNumber.ENABLE_COLO: 0,
    CommandNumber.POSTCOPY_RESUME: 0,
    CommandNumber.SWITCHOVER_START: 0,
}
"""Bytes of data of each command that has a fixed number of them."""


@dataclass(frozen=True, slots=True)
class Header:
    """The file header and the CONFIGURATION; ``size`` is that of both, in bytes."""

    machine: str
    """Machine type, versioned."""
    size: int
    page_bits: int | None = None
    """Of the target's page size; None if not sent: the target's smallest."""
    capabilities: tuple[str, ...] = ()
    """Capabilities that both sides must have on."""
    uuid: bytes | None = None
    """16 bytes; None if not sent."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section that has ended."""

    kind: SectionKind
    section_id: int
    idstr: str
    instance_id: int
    version_id: int
    """Of PART and END these three are those of the section's START."""
    offset: int
    """Of the type byte."""
    body_size: int
    """Bytes between head and footer."""
    size: int
    """All bytes, from the type byte to the footer's end."""

    @property
    def is_last_of_ram(self) -> bool:
        """Whether all of RAM has come: the channels have sent their last SYNC before."""
        return self.kind is SectionKind.END and self.idstr == "ram"


@dataclass(frozen=True, slots=True)
class Command:
    """A command; ``size`` bytes of data follow, which are not kept."""

    number: CommandNumber
    offset: int
    size: int

    @property
    def is_switchover(self) -> bool:
        """Whether it is the switchover: the source has stopped its VM.

        No PART follows: what is left of RAM and of other iterable state comes in ENDs.
        Machine types of 9.2 and older do not send the command.
        """
        return self.number is CommandNumber.SWITCHOVER_START


@dataclass(frozen=True, slots=True)
class StateEnd:
    """EOF: the VM's state is complete."""

    offset: int


@dataclass(frozen=True, slots=True)
class Description:
    """VMDESCRIPTION: the last unit; ``size`` bytes of JSON follow, which are not kept."""

    offset: int
    size: int


MainEvent = Header | Section | Command | StateEnd | Description


class MainChannelReader(Reader[MainEvent]):
    """Reads the source's direction of the main channel.

    Postcopy's PACKAGED, which wraps a stream into the stream, is refused as damage: VFIO
    devices do not support postcopy.

    :param where: side and channel, for messages
    :ivar offset: bytes of the channel that have been read as units or as part of one
    """

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self._skip = 0  # bytes of a command or description that are yet to come
        self._open: tuple[Section, int] | None = None  # without sizes; where its body begins
        self._started: dict[int, Section] = {}
        self._has_header = False
        self._has_ended = False
        self._is_described = False

    def close(self) -> None:
        """The channel has ended.

        :raise WireError: before EOF, or inside a unit
        """
        if self._open is not None:
            section, _ = self._open
            raise self._damage(f"ends inside section {section.section_id} ({section.idstr})")
        if self._skip or self.buffered:
            raise self._damage("ends inside a unit")
        if not self._has_ended:
            raise self._damage("ends before the end of the state")

    def _next(self) -> MainEvent | Need:
        skipped = min(self._skip, self.buffered)
        self._skip -= skipped
        self._skip_over(skipped)
        if self._skip:
            return NEED_DATA
        if self._open is not None:
            return self._body(*self._open)
        head = _Head(self._buffer, self._at)
        return self._unit(head.u8(), head) if self._has_header else self._header(head)

    # -- units -----------------------------------------------------------------------

    def _header(self, head: "_Head") -> Header:
        if (magic := head.u32()) != MAGIC:
            raise self._damage(f"magic {magic:#010x}, not {MAGIC:#010x}")
        if (version := head.u32()) != VERSION:
            raise self._damage(f"version {version}, not {VERSION}", 4)
        if (kind := head.u8()) != CONFIGURATION:
            raise self._damage(f"type {kind:#04x}, not the configuration", 8)
        if (length := head.u32()) > MACHINE_LIMIT:
            raise self._damage(f"machine type of {length} bytes, more than {MACHINE_LIMIT}", 9)
        machine = head.text(length)
        page_bits: int | None = None
        capabilities: tuple[str, ...] = ()
        uuid: bytes | None = None
        # The next byte shows whether there is a subsection: no unit begins like one.
        seen: set[str] = set()
        while head.peek() == SUBSECTION:
            at = head.size
            head.u8()
            name = head.text(head.u8())
            head.u32()
            if name in seen:
                raise self._damage(f"subsection {name!r} again", at)
            seen.add(name)
            match name:
                case "configuration/target-page-bits":
                    page_bits = head.u32()
                case "configuration/capabilities":
                    if (count := head.u32()) > CAPABILITIES_LIMIT:
                        limit = CAPABILITIES_LIMIT
                        raise self._damage(f"{count} capabilities, more than {limit}", at)
                    capabilities = tuple(head.text(head.u8()) for _ in range(count))
                case "configuration/uuid":
                    uuid = head.bytes(16)
                case _:
                    raise self._damage(f"unknown subsection {name!r}", at)
        self._skip_over(head.size)
        self._has_header = True
        return Header(machine, head.size, page_bits, capabilities, uuid)

    def _unit(self, kind: int, head: "_Head") -> MainEvent | Need:
        offset = self.offset
        if self._has_ended and (kind != VMDESCRIPTION or self._is_described):
            raise self._damage(f"type {kind:#04x} behind the end of the state")
        match kind:
            case SectionKind.START | SectionKind.FULL:
                section_id = head.u32()
                idstr = head.text(head.u8())
                section = Section(
                    SectionKind(kind), section_id, idstr, head.u32(), head.u32(), offset, 0, 0
                )
                if kind == SectionKind.START:
                    self._start(section)
                return self._begin(section, head)
            case SectionKind.PART | SectionKind.END:
                begun = self._started.get(section_id := head.u32())
                if begun is None:
                    raise self._damage(f"section {section_id} was not started")
                return self._begin(replace(begun, kind=SectionKind(kind), offset=offset), head)
            case _ if kind == COMMAND:
                return self._command(head)
            case _ if kind == EOF:
                self._skip_over(head.size)
                self._has_ended = True
                return StateEnd(offset)
            case _ if kind == VMDESCRIPTION and self._has_ended:
                self._skip = head.u32()
                self._skip_over(head.size)
                self._is_described = True
                return Description(offset, self._skip)
        raise self._damage(f"unknown type {kind:#04x}")

    def _command(self, head: "_Head") -> Command:
        offset = self.offset
        value, size = head.u16(), head.u16()
        number = _COMMANDS.get(value)
        if number is None:
            raise self._damage(f"unknown command {value} of {size} bytes")
        if number is CommandNumber.PACKAGED:
            raise self._damage("command PACKAGED: postcopy is not supported")
        if size != COMMAND_SIZES.get(number, size):
            raise self._damage(f"command {number.name} has {size} bytes")
        self._skip_over(head.size)
        self._skip = size
        return Command(number, offset, size)

    def _start(self, section: Section) -> None:
        self._started[section.section_id] = section
        if len(self._started) > STARTED_LIMIT:
            raise self._damage(f"more than {STARTED_LIMIT} sections are started")

    # -- bodies ----------------------------------------------------------------------

    def _begin(self, section: Section, head: "_Head") -> MainEvent | Need:
        self._skip_over(head.size)
        self._open = section, self.offset
        return self._body(section, self.offset)

    def _body(self, section: Section, begin: int) -> Section | Need:
        footer = struct.pack(">BI", FOOTER, section.section_id)
        while (found := self._buffer.find(footer, self._at)) >= 0:
            self._skip_over(found - self._at)
            behind = found + FOOTER_SIZE
            if self._is_unit(_Head(self._buffer, behind)):
                body_size = self.offset - begin
                self._skip_over(FOOTER_SIZE)
                self._open = None
                size = self.offset - section.offset
                return replace(section, body_size=body_size, size=size)
            self._skip_over(1)
        self._skip_over(max(self.buffered - FOOTER_SIZE + 1, 0))
        return NEED_DATA

    def _is_unit(self, head: "_Head") -> bool:
        """Whether a unit may begin so.

        :raise Incomplete: too few bytes are there
        """
        match head.u8():
            case SectionKind.START | SectionKind.FULL:
                head.u32()
                return head.u8() > 0
            case SectionKind.PART | SectionKind.END:
                return head.u32() in self._started
            case kind if kind == COMMAND:
                return head.u16() in _COMMANDS
            case kind:
                return kind == EOF


class _Head:
    """Fields of a unit's head, one after the other, from an offset in a buffer.

    :ivar size: bytes read
    """

    def __init__(self, buffer: bytearray, at: int) -> None:
        self._buffer = buffer
        self._begin = at
        self.size = 0

    def u8(self) -> int:
        return self.bytes(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.bytes(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.bytes(4), "big")

    def text(self, size: int) -> str:
        return self.bytes(size).decode(errors="backslashreplace")

    def peek(self) -> int:
        value = self.u8()
        self.size -= 1
        return value

    def bytes(self, size: int) -> bytes:
        at = self._begin + self.size
        if at + size > len(self._buffer):
            raise Incomplete
        self.size += size
        return bytes(self._buffer[at : at + size])
