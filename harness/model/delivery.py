"""What the destination was given over multifd, and what is wrong with one packet of it.

Written from REF-2 to REF-6, REF-8 to REF-10 and from docs/devel/migration/vfio.rst.  The
facts about layouts and limits are from migration/multifd.h and hw/vfio/migration-multifd.c.
Conflicts between packets are in ``prediction``.

A packet is **refused** when it is read, or its channel is **stuck**: it states more bytes
than it has, so that the bytes behind it are read as its own; the destination then refuses the
result, or waits for more.  If the specification does not define the effect, it is **open**.
"""

import enum
from collections import Counter
from collections.abc import Iterator

import msgspec

CONFIG_STATE = 1
"""VFIO_DEVICE_STATE_CONFIG_STATE, of VFIO's own flags."""
INVALID_IDX = 0xFFFFFFFF
STATE_HEADER = 12
"""Bytes of VFIO's own header, in front of the data."""
STATE_HEAD, RAM_HEAD = 276, 1344
"""Bytes of a packet before its payload, of device state and of RAM in pages of 4 KiB."""
SYNC = 1
"""MULTIFD_FLAG_SYNC: never on a device-state packet."""
DEVICE_STATE = 1 << 6
"""MULTIFD_FLAG_DEVICE_STATE: the only flag of a device-state packet."""
CONFIG_MARKER = "ffffffffef100002"
"""VFIO_MIG_FLAG_DEV_CONFIG_STATE, hex: the first 8 bytes of a configuration."""
FAR = 1 << 16
"""Indices beyond the last that is needed; nearer ones cost the destination little memory."""
NO_UUID = "00" * 16
"""In the hello of a VM that was given no UUID, hex."""
HELLO_MAGIC, HELLO_VERSION = 0x11223344, 1


class Effect(enum.Enum):
    """What happens to a wrong packet."""

    REFUSED = enum.auto()
    STUCK = enum.auto()
    """Its channel ends with a refusal, or waits for bytes that do not come."""
    OPEN = enum.auto()
    """Refused or accepted."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One device-state packet, as delivered.  A header field is None if it is right."""

    number: int
    """Its place among all that were delivered."""
    t_ns: int
    """When the destination's socket had taken all of it."""
    channel: int
    device: str
    """Id of the scenario's device; "" if the idstr belongs to none."""
    idx: int | None
    """None if the payload is too short for VFIO's header."""
    size: int
    """Bytes of data after VFIO's header; all bytes of a payload without it."""
    digest: str = ""
    state_flags: int = 0
    instance_id: int = 0
    marker: str = CONFIG_MARKER
    """Of a configuration, the first 8 bytes of its data, hex."""
    magic: int | None = None
    version: int | None = None
    flags: int | None = None
    state_version: int | None = None
    next_packet_size: int | None = None
    """Bytes of payload that it states, if that is wrong."""
    has_idstr_end: bool = True
    is_read: bool = False
    """Whether the destination is known to have read it before it had loaded all state."""

    @property
    def is_config(self) -> bool:
        """Whether it is flagged CONFIG_STATE."""
        return bool(self.state_flags & CONFIG_STATE)

    @property
    def payload_size(self) -> int:
        """Bytes of payload that it really has."""
        return self.size + (0 if self.idx is None else STATE_HEADER)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the source sent of one device's state."""

    instance_id: int = 0
    indices: frozenset[int] = frozenset()
    config_idx: int | None = None
    """None if the source sent no configuration."""
    config_size: int = 0
    """Bytes of its data."""
    config_digest: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all packets up to the configuration were sent."""
        return self.config_idx is not None and len(self.indices) > self.config_idx


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are no complete packet, behind packet number ``after`` (-1 if none)."""

    channel: int
    t_ns: int
    after: int


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The hello of one multifd channel, as it was delivered."""

    channel: int
    """The number that the source gave it."""
    channel_id: int
    """The number in the hello."""
    magic: int = HELLO_MAGIC
    version: int = HELLO_VERSION
    uuid: str = NO_UUID
    """Hex."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """All that the destination was given of the devices' state."""

    packets: tuple[Packet, ...]
    """In the order in which they were sent on."""
    sent: dict[str, Sent]
    """By device; one that is absent here sent nothing."""
    multifd_devices: tuple[str, ...]
    """Devices whose state is sent over multifd."""
    limits: dict[str, int] = {}
    """x-migration-max-queued-buffers-size of devices that have it, bytes."""
    pieces: tuple[Piece, ...] = ()
    closed: tuple[int, ...] = ()
    """Channels that were closed on purpose; -1 is the main channel."""
    ends_early: bool = False
    """Whether the source closes its channels once all is sent, as without a return path."""
    resumed_ns: int = 0
    """When a stalled main channel continued; nothing is loaded before that.  0 if no stall."""
    channels: int = 0
    """multifd-channels of the destination."""
    hellos: tuple[Hello, ...] = ()
    """Those that were changed on their way."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a right destination refuses, or may refuse."""

    requirement: str
    kind: str
    """Which sort of damage it is, a stable word in lower case and hyphens."""
    words: str
    device: str = ""
    """"" if it concerns no device."""
    channel: int = -1
    idx: int | None = None
    number: int = -1
    """The packet's number; -1 if it is about none."""


class Defect(msgspec.Struct, frozen=True):
    """What is wrong with one packet, by itself."""

    effect: Effect
    reason: Reason


def defects(packet: Packet, delivery: Delivery) -> Iterator[Defect]:
    """All that is wrong with ``packet``; what comes first is read first.

    After one that leaves its channel stuck no more are reported: how it is read depends on the
    bytes behind it.  A stated size below the real one is a defect not of the packet but of what
    follows it: see ``leaves_rest``.
    """

    def wrong(requirement: str, kind: str, words: str, effect: Effect = Effect.REFUSED) -> Defect:
        concerns = "" if requirement in ("REF-9", "REF-10") else packet.device
        return Defect(effect, reason(packet, requirement, kind, words, concerns))

    if packet.magic is not None or packet.version is not None:
        yield wrong("REF-10", "magic-or-version", "its magic or version is wrong")
    stated = packet.next_packet_size
    if packet.flags is not None and packet.flags & DEVICE_STATE:
        kind = "sync-flag" if packet.flags & SYNC else "unknown-flags"
        yield wrong("REF-10", kind, f"its flags are {packet.flags:#x}")
    elif packet.flags is not None:
        is_head = STATE_HEAD + packet.payload_size >= RAM_HEAD
        effect = Effect.REFUSED if is_head else Effect.STUCK
        yield wrong("REF-10", "no-flag", "it is not flagged as device state", effect)
        return
    if stated is not None and stated > packet.payload_size:
        yield wrong(
            "REF-10", "stated-size-too-large", "it states more bytes than it has", Effect.STUCK
        )
        return
    if not packet.device:
        ending = "unknown" if packet.has_idstr_end else "not terminated"
        kind = "unknown-idstr" if packet.has_idstr_end else "unterminated-idstr"
        yield wrong("REF-9", kind, f"its idstr is {ending}")
        return
    sent = delivery.sent.get(packet.device, Sent())
    if packet.instance_id != sent.instance_id:
        yield wrong("REF-9", "instance-id", f"its instance id is {packet.instance_id}")
    if packet.device not in delivery.multifd_devices:
        yield wrong("REF-2", "no-multifd-transfer", "its device does not use multifd transfer")
    if packet.idx is None or (stated is not None and stated < STATE_HEADER):
        yield wrong("REF-3", "too-short", f"its payload has less than {STATE_HEADER} bytes")
        return
    if packet.state_version is not None:
        yield wrong("REF-4", "unknown-version", f"its version is {packet.state_version}")
    if packet.idx == INVALID_IDX:
        yield wrong("REF-5", "invalid-index", "its index is 0xffffffff")
    elif is_far(packet, delivery):
        words = "its index is far beyond what the state needs"
        yield wrong("REF-6", "far-index", words, Effect.OPEN)
    if packet.state_flags & ~CONFIG_STATE:
        words = f"its state flags are {packet.state_flags:#x}"
        yield wrong("REF-10", "unknown-state-flags", words, Effect.OPEN)


def bad_hellos(delivery: Delivery) -> Iterator[Reason]:
    """Hellos that must be refused (REF-10); after one, no packet is read on any channel."""
    numbers = Counter(range(delivery.channels))
    for hello in delivery.hellos:
        numbers[hello.channel] -= 1
        numbers[hello.channel_id] += 1
    for hello in delivery.hellos:
        words = f"the hello of channel {hello.channel} "
        if (hello.magic, hello.version, hello.uuid) != (HELLO_MAGIC, HELLO_VERSION, NO_UUID):
            kind = "hello-magic-version-or-uuid"
            words += "has a wrong magic, version or uuid"
        elif hello.channel_id >= delivery.channels:
            is_next = hello.channel_id == delivery.channels
            kind = "hello-number-of-channels" if is_next else "hello-number-too-high"
            words += f"has number {hello.channel_id} of {delivery.channels} channels"
        elif numbers[hello.channel_id] > 1:
            kind = "hello-number-taken"
            words += f"has number {hello.channel_id}, which is taken"
        else:
            continue
        yield Reason(requirement="REF-10", kind=kind, words=words, channel=hello.channel)


def is_far(packet: Packet, delivery: Delivery) -> bool:
    """Whether its index is FAR beyond the last that the state may need (REF-6)."""
    sent = delivery.sent.get(packet.device, Sent())
    needed = max(len(sent.indices), len(delivery.packets))
    return packet.idx is not None and packet.idx >= needed + FAR


def leaves_rest(packet: Packet) -> bool:
    """Whether it states fewer bytes than it has: the rest is read as the next packet."""
    stated = packet.next_packet_size
    return stated is not None and stated < packet.payload_size


def config_defect(packet: Packet, sent: Sent) -> Defect | None:
    """What is wrong with the configuration in ``packet`` (REF-8), when it is loaded.

    Changed bytes behind the right marker, of the same number, may be noticed or not.
    """
    size = packet.size
    if packet.next_packet_size is not None:
        size = min(size, packet.next_packet_size - STATE_HEADER)

    def wrong(kind: str, words: str, effect: Effect = Effect.REFUSED) -> Defect:
        return Defect(effect, reason(packet, "REF-8", kind, words, packet.device))

    if packet.marker != CONFIG_MARKER:
        words = f"the configuration begins with {packet.marker or 'nothing'}"
        return wrong("configuration-marker", words)
    if sent.config_idx is None:
        return None
    if size != sent.config_size:
        kind = "configuration-too-long" if size > sent.config_size else "configuration-cut-short"
        return wrong(kind, f"the configuration has {size} bytes, not {sent.config_size}")
    if packet.digest != sent.config_digest:
        words = "bytes of the configuration were changed"
        return wrong("configuration-changed", words, Effect.OPEN)
    return None


def reason(packet: Packet, requirement: str, kind: str, words: str, device: str) -> Reason:
    """A reason about ``packet``."""
    return Reason(
        requirement=requirement,
        kind=kind,
        words=words,
        device=device,
        channel=packet.channel,
        idx=packet.idx,
        number=packet.number,
    )
