"""What the relay saw and did between the two QEMUs.

The record's ``channel`` is the multifd channel that it is about, -1 for the main channel and -2
for a connection that cannot be read; its ``device`` the device.
"""

from typing import Annotated, Literal

import msgspec

from harness.history.records import Body

Hex = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]


class ChannelOpened(Body, frozen=True):
    """A connection has shown what it is."""

    connection: int
    """In order of accept, from 0."""
    kind: Literal["main", "multifd", "tls", "raw"]
    """``tls`` and ``raw`` are passed on unread."""


class StrangerRefused(Body, frozen=True):
    """A process of another user has connected to the relay, and was closed at once."""

    pid: int
    uid: int


class ChannelRefused(Body, frozen=True):
    """The destination could not be reached."""

    connection: int
    reason: str


class ChannelEnded(Body, frozen=True):
    """One side sends no more."""

    connection: int
    side: Literal["source", "destination"]
    is_reset: bool


class ChannelClosed(Body, frozen=True):
    """A connection is closed to both sides."""

    connection: int
    to_destination: int
    """Bytes passed on."""
    to_source: int
    """Bytes passed on."""


class Damaged(Body, frozen=True):
    """What cannot be read came on the channel: it is passed on unread from here on."""

    what: str


class HelloOut(Body, frozen=True):
    """A multifd channel's first packet (``MultiFDInit_t``), as the destination gets it, where a
    fault has changed it; the record's ``channel`` is the number that the source gave.
    """

    magic: int
    version: int
    channel_id: int
    uuid: str
    """Hex."""


class Packet(Body, frozen=True):
    """A device-state packet (``MultiFDPacketDeviceState_t``), VFIO's header and its data."""

    idx: int | None
    """None if the payload is too short for VFIO's header."""
    state_flags: int
    instance_id: int
    size: int
    """Bytes of its data, behind VFIO's header; of the payload where ``idx`` is None."""
    digest: str | None = None
    """Of the data: xxh3_128, hex.  None if the data went through the kernel unread: no fault of
    the scenario could change it, and the devices have digests of what they gave and got.
    """
    marker: str | None = None
    """The first 8 bytes of the data, hex; None unless the packet is flagged CONFIG_STATE, and if
    no fault of the scenario could change it."""
    idstr: Hex = ""
    """Where the record's ``device`` is empty: the name of a device that is none of the
    scenario's; all 256 bytes if it is not one text and NULs to its end.
    """
    magic: int | None = None
    """This and the following: None if they are what QEMU puts there."""
    version: int | None = None
    flags: int | None = None
    state_version: int | None = None
    next_packet_size: int | None = None
    """As stated, not true."""


class PacketIn(Packet, frozen=True):
    """A packet has come from the source."""


class PacketOut(Packet, frozen=True):
    """The destination's socket has taken all of a packet."""


class PacketLost(Packet, frozen=True):
    """A packet could not be delivered: the channel is closed."""


class MainSection(Body, frozen=True):
    """A section of a device (its idstr has a ``/``) has gone on, on the main channel of a multifd
    migration.
    """

    kind: Literal["start", "full"]
    idstr: str
    size: int
    """Bytes of its body."""


class Switchover(Body, frozen=True):
    """The switchover command is on the main channel; the destination cannot have read it yet."""

    offset: int
    """Of the command's type byte on the channel."""


class MainEnd(Body, frozen=True):
    """The state has ended on the main channel."""

    offset: int
    """Of its end on the channel."""


class RawOut(Body, frozen=True):
    """Bytes were sent that are no complete packet."""

    size: int


class Fault(Body, frozen=True):
    """A fault has changed something."""

    fault: str
    """Its kind."""
    position: int
    """In the scenario's faults."""
    what: str
    """In words."""
    idx: int | None = None
    """The packet's that it is about."""


class MainStalled(Body, frozen=True):
    """A fault has stopped the main channel."""


class MainResumed(Body, frozen=True):
    """The main channel goes on."""


class Delivered(Body, frozen=True):
    """A device's data as delivered, in order of idx; only where a fault has changed data."""

    bytes: int
    digest: str
    """xxh3_128, hex."""
