"""The **fault plan** of a scenario: what the relay does to device-state packets.

Plain frozen data, like the scenario that holds it: each fault is one tagged struct that
round-trips to JSON and describes itself in one line.  ``harness.proxy.faults`` has a file for
each, named after its tag, which carries it out.  The faults of a plan form a chain: what one
delivers arrives at the next.
"""

import enum
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from harness.scenario import ranges
from harness.scenario.fault_traits import Changing, Closing, Holding, Plain, Traits

SHORTEST_IDSTR_WITHOUT_END = 256
"""An idstr of this length or more has no room for its NUL."""

TOLD = ("loaded", "switchover", "switchover_passed", "ram_passed", "channel_ended")
"""Outside events that every relay reports (``harness.proxy.events.Notified``)."""
OPENED = "opened"
"""The main channel's start, from which ``StallMain`` can stall it."""


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword only; an unknown field is an error."""


class Select(_Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """Which packets a fault is about; a field that is left out selects all."""

    device: str = ""
    """Id of the scenario's device, or an idstr."""
    idx: tuple[ranges.Uint32, ...] = ()
    config: bool | None = None
    """True for the configuration only, False for data only."""
    channel: ranges.Channel | None = None
    """The multifd channel on which it arrives."""

    def describe(self) -> str:
        """As the object of a sentence."""
        kind = {True: "configuration ", False: "data ", None: ""}[self.config]
        if self.idx:
            what = f"{kind}packet{'s' * (len(self.idx) > 1)} {', '.join(map(str, self.idx))}"
        else:
            what = f"the {kind}packet" if self.config else f"every {kind}packet"
        of = f" of {self.device}" if self.device else ""
        on = f" on channel {self.channel}" if self.channel is not None else ""
        return what + of + on


class Until(_Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """A moment that a fault waits for, counted from the packet it is about; one field is set.

    ``told`` also counts if it came before, if it comes once in a migration (``TOLD`` without
    ``loaded``).  With it, ``delay_s`` is the longest time to wait.
    """

    told: str = ""
    """Name of an outside event (``harness.proxy.events``), with ``value`` or more."""
    value: ranges.Value = 0
    packets: ranges.Number = 0
    """That many more packets have arrived."""
    others: bool = False
    """All other packets of the device have arrived, and so were delivered."""
    loaded: bool = False
    """The destination's device has taken the packet's data.  Of a data packet only: QEMU loads
    a configuration without notifying the device."""
    delay_s: ranges.Delay = 0.0

    def __post_init__(self) -> None:
        given = (self.told, self.packets, self.others, self.loaded, self.delay_s)
        is_limited = bool(self.told and self.delay_s)
        if sum(map(bool, given)) != 1 + is_limited or self.packets < 0 or self.delay_s < 0:
            raise ValueError("until needs one of told, packets, others, loaded, delay_s")
        if self.told == "config_loaded":
            raise ValueError("until config_loaded: QEMU loads it without notifying the device")

    def describe(self) -> str:
        """As it follows a verb."""
        if self.told:
            limit = f", for {self.delay_s:g} s at most" if self.delay_s else ""
            return f"until {self.told}" + (f" {self.value}" if self.value else "") + limit
        if self.packets:
            return f"until {self.packets} more packet{'s' * (self.packets > 1)}"
        if self.delay_s:
            return f"for {self.delay_s:g} s"
        return "until all others are delivered" if self.others else "until it is loaded"


class Fields(_Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """Header fields to set; None leaves a field as it is."""

    magic: ranges.Uint32 | None = None
    version: ranges.Uint32 | None = None
    flags: ranges.Uint32 | None = None
    idstr: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    """Padded with NULs; with 256 characters or more it is not terminated."""
    instance_id: ranges.Uint32 | None = None
    next_packet_size: ranges.Uint32 | None = None
    state_version: ranges.Uint32 | None = None
    idx: ranges.Uint32 | None = None
    state_flags: ranges.Uint32 | None = None

    def describe(self) -> str:
        """``idx = 7, flags = 0x41``."""
        names = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return ", ".join(f"{name} = {_value(name, getattr(self, name))}" for name in names)


class _Fault(_Frozen, Traits, frozen=True, kw_only=True, tag_field="fault"):
    """Base of all faults."""

    select: Select = Select()

    def describe(self) -> str:
        """One readable line."""
        raise NotImplementedError


class Order(enum.StrEnum):
    """Named orders of one device's packets."""

    REVERSED = "reversed"
    CONFIG_FIRST = "config_first"
    INDEX_0_LAST = "index_0_last"
    SHUFFLED = "shuffled"
    """By the plan's seed."""
    ONE_CHANNEL_DELAYED = "one_channel_delayed"
    """Packets of ``channel`` go last."""


class Reorder(_Fault, Plain, frozen=True, kw_only=True, tag="reorder"):
    """Deliver each device's packets in another order, on the channels they came on.

    Channels race; for a strict order move all packets to one with ``MoveToChannel``.
    """

    order: Order | tuple[ranges.Uint32, ...]
    """A name, or each idx in the wanted order (packets that are left out go last)."""
    channel: ranges.Channel = 0

    def describe(self) -> str:
        name = self.order.value if isinstance(self.order, Order) else _short(self.order)
        if self.order is Order.ONE_CHANNEL_DELAYED:
            name += f" ({self.channel})"
        return f"reorder {self.select.describe()}: {name}"


class MoveToChannel(_Fault, Plain, frozen=True, kw_only=True, tag="move_to_channel"):
    """Deliver on ``channel``; if None, on each channel in turn."""

    channel: ranges.Channel | None = None

    def describe(self) -> str:
        where = "each channel in turn" if self.channel is None else f"channel {self.channel}"
        return f"move {self.select.describe()} to {where}"


class Duplicate(_Fault, Plain, frozen=True, kw_only=True, tag="duplicate"):
    """Deliver again, right behind the packet or at a later moment."""

    until: Until | None = None
    """None for right behind it."""
    channel: ranges.Channel | None = None
    """None for the packet's own."""
    copies: ranges.Count = 1

    def __post_init__(self) -> None:
        _refuse_loaded_configuration(self.select, self.until)

    def describe(self) -> str:
        when = "at once" if self.until is None else f"after a wait {self.until.describe()}"
        where = "" if self.channel is None else f" on channel {self.channel}"
        times = "" if self.copies == 1 else f" {self.copies} times"
        return f"duplicate {self.select.describe()}{times}{where} {when}"


class Drop(_Fault, Plain, frozen=True, kw_only=True, tag="drop"):
    """Do not deliver."""

    def describe(self) -> str:
        return f"drop {self.select.describe()}"


class Hold(_Fault, Holding, frozen=True, kw_only=True, tag="hold"):
    """Deliver at a later moment."""

    until: Until

    def __post_init__(self) -> None:
        _refuse_loaded_configuration(self.select, self.until)

    def describe(self) -> str:
        return f"hold {self.select.describe()} {self.until.describe()}"


class Delay(_Fault, Holding, frozen=True, kw_only=True, tag="delay"):
    """Deliver each packet ``delay_s`` after it came."""

    delay_s: ranges.Delay

    def describe(self) -> str:
        return f"delay {self.select.describe()} by {self.delay_s:g} s"


class Pace(_Fault, Plain, frozen=True, kw_only=True, tag="pace"):
    """Deliver the packets one by one, as over a link of ``bytes_per_s``."""

    bytes_per_s: ranges.Rate

    def __post_init__(self) -> None:
        if self.bytes_per_s <= 0:
            raise ValueError(f"bytes_per_s is {self.bytes_per_s}, not above 0")

    def describe(self) -> str:
        return f"pace {self.select.describe()} to {self.bytes_per_s:g} bytes/s"


class Rewrite(_Fault, Changing, frozen=True, kw_only=True, tag="rewrite"):
    """Set fields of either header."""

    fields: Fields

    def __post_init__(self) -> None:
        if self.fields == Fields():
            raise ValueError("rewrite needs a field to set")

    def describe(self) -> str:
        return f"rewrite {self.select.describe()}: {self.fields.describe()}"


class Flip(_Fault, Changing, frozen=True, kw_only=True, tag="flip"):
    """Invert bits of the data, which is behind VFIO's 12-byte header."""

    offset: ranges.Offset = 0
    """Negative to count from the end."""
    mask: ranges.Mask = 0xFF
    length: ranges.Piece = 1
    """Bytes to change."""

    def __post_init__(self) -> None:
        if not (0 < self.mask <= 0xFF and self.length > 0):
            raise ValueError("flip needs a mask of 1 to 255 and a length above 0")

    def describe(self) -> str:
        where = f"byte {self.offset}" + (f" and {self.length - 1} more" if self.length > 1 else "")
        return f"flip {where} of {self.select.describe()} by {self.mask:#04x}"


class Truncate(_Fault, Changing, frozen=True, kw_only=True, tag="truncate"):
    """Cut the payload (VFIO's header and data) to ``size`` bytes."""

    size: ranges.Bytes
    is_stale: bool = False
    """Keep ``next_packet_size``, so that the destination reads into the next packet."""

    def describe(self) -> str:
        stale = ", stated length unchanged" if self.is_stale else ""
        return f"truncate {self.select.describe()} to {self.size} bytes{stale}"


class Extend(_Fault, Changing, frozen=True, kw_only=True, tag="extend"):
    """Append made-up bytes to the data, and to the stated length."""

    size: ranges.Piece

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ValueError(f"size is {self.size}, not above 0")

    def describe(self) -> str:
        return f"extend {self.select.describe()} by {self.size} bytes"


class CutStream(_Fault, Closing, frozen=True, kw_only=True, tag="cut_stream"):
    """Close the packet's channel after ``size`` of its bytes, headers included."""

    size: ranges.Bytes
    is_abrupt: bool = False

    def describe(self) -> str:
        how = " abruptly" if self.is_abrupt else ""
        return f"cut the stream{how} {self.size} bytes into {self.select.describe()}"


class Rechunk(_Fault, Plain, frozen=True, kw_only=True, tag="rechunk"):
    """Split and merge the data to packets of ``size`` bytes, and renumber them."""

    size: ranges.Piece

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ValueError(f"size is {self.size}, not above 0")

    def describe(self) -> str:
        return f"rechunk {self.select.describe()} to {self.size} bytes"


class Inject(_Fault, Changing, frozen=True, kw_only=True, tag="inject"):
    """Deliver made-up packets before or behind the packet, with its fields unless set."""

    fields: Fields = Fields()
    data: bytes | None = None
    """None for the packet's own."""
    size: ranges.Bytes | None = None
    """That many made-up bytes as ``data``."""
    payload: bytes | None = None
    """Bytes to send as VFIO's header and data."""
    copies: ranges.Count = 1
    idx_step: ranges.Step = 0
    """Added to idx from copy to copy."""
    is_before: bool = False
    channel: ranges.Channel | None = None
    """None for the packet's own."""

    def describe(self) -> str:
        fields = self.fields.describe()
        parts = [
            fields,
            f"idx rising by {self.idx_step}" if self.idx_step else "",
            f"{self.size} bytes of data" if self.size is not None else "",
            f"{len(self.data)} bytes of data" if self.data is not None else "",
            f"a payload of {len(self.payload)} bytes" if self.payload is not None else "",
            f"on channel {self.channel}" if self.channel is not None else "",
        ]
        where = "before" if self.is_before else "behind"
        like = ", ".join(part for part in parts if part)
        many = "a packet" if self.copies == 1 else f"{self.copies} packets"
        return f"inject {many} {where} {self.select.describe()}{': ' * bool(like)}{like}"


class Which(enum.StrEnum):
    """Channels to close."""

    OWN = "own"
    """The packet's."""
    MULTIFD = "multifd"
    """All multifd channels."""
    MAIN = "main"
    ALL = "all"


class CloseChannel(_Fault, Closing, frozen=True, kw_only=True, tag="close_channel"):
    """Close both ends of channels, between packets."""

    which: Which = Which.OWN
    nth: ranges.Count = 1
    """Which of the selected packets it happens at, from 1."""
    is_before: bool = False
    """Before the packet, which is then lost, instead of behind it."""
    is_abrupt: bool = False
    """By a reset (TCP) instead of an orderly end."""

    def describe(self) -> str:
        what = {Which.OWN: "its channel", Which.MULTIFD: "all multifd channels",
                Which.MAIN: "the main channel", Which.ALL: "all channels"}[self.which]  # fmt: skip
        where = "before" if self.is_before else "behind"
        how = " abruptly" if self.is_abrupt else ""
        nth = f" (number {self.nth} of them)" if self.nth > 1 else ""
        return f"close {what}{how} {where} {self.select.describe()}{nth}"


class Hello(_Fault, Plain, frozen=True, kw_only=True, tag="hello"):
    """Set fields of the hello with which a multifd channel begins.

    The other faults still know the channel by the number that the source sent.
    """

    magic: ranges.Uint32 | None = None
    """None, here and below, leaves the field as it is."""
    version: ranges.Uint32 | None = None
    channel_id: ranges.Uint8 | None = None
    uuid: UUID | None = None

    def __post_init__(self) -> None:
        if self.select != Select(channel=self.select.channel):
            raise ValueError("a hello is selected by its channel alone")
        for name, limit in (("magic", 1 << 32), ("version", 1 << 32), ("channel_id", 1 << 8)):
            value = getattr(self, name)
            if value is not None and not 0 <= value < limit:
                raise ValueError(f"{name} is {value}, not 0 to {limit - 1}")
        if not self._fields():
            raise ValueError("hello needs one of magic, version, channel_id, uuid")

    def _fields(self) -> dict[str, int | str]:
        names = ("magic", "version", "channel_id")
        fields: dict[str, int | str] = {
            name: value for name in names if (value := getattr(self, name)) is not None
        }
        return fields if self.uuid is None else {**fields, "uuid": str(self.uuid)}

    def describe(self) -> str:
        channel = self.select.channel
        which = "every channel" if channel is None else f"channel {channel}"
        fields = ", ".join(f"{name} = {_value(name, v)}" for name, v in self._fields().items())
        return f"rewrite the hello of {which}: {fields}"


class HoldConnections(_Fault, Plain, frozen=True, kw_only=True, tag="hold_connections"):
    """Accept no connection of the source beyond the first ``accepted``, until a moment.

    Over a unix socket one more connects and is not served: a listener's queue has room for one.
    Each connection behind that one waits in connect(), and so does a source that needs it: in
    MigrationStatus ``setup`` while ``accepted`` is below its number of multifd channels, because
    it waits there for all of them to be connected (multifd_send_setup() in QEMU's
    migration/multifd.c).  Over TCP all of them connect and are not served: what the source sends
    waits in the kernel.
    """

    until: Until
    """Counted from the first connection that is not accepted."""
    accepted: ranges.Uint8 = 0
    """0 to hold the main channel too, 1 to let only it through."""

    def __post_init__(self) -> None:
        if self.select != Select():
            raise ValueError("hold_connections is not about packets: it takes no select")
        if not (self.until.told or self.until.delay_s):
            raise ValueError("hold_connections can wait for told or delay_s only")
        if self.accepted < 0:
            raise ValueError(f"accepted is {self.accepted}, below 0")

    def describe(self) -> str:
        which = f"beyond the first {self.accepted}" if self.accepted else "of the source"
        return f"hold the connections {which} {self.until.describe()}"


class Refusal(enum.StrEnum):
    """How a connection is refused."""

    RESET = "reset"
    """It is accepted and reset at once (over a unix socket: closed)."""
    CLOSED = "closed"
    """It is accepted and closed at once, in order."""
    NOT_LISTENING = "not_listening"
    """The relay does not listen any more: connect() fails with ECONNREFUSED, for all later ones
    too.  One that had connected already, and was not accepted yet, is reset."""


class RefuseConnection(_Fault, Closing, frozen=True, kw_only=True, tag="refuse_connection"):
    """Refuse the connection of the source behind the first ``accepted``.

    The destination does not see it.  QEMU opens the main channel first, and then the multifd
    channels, all at once: which of them a later connection is for is not known.
    """

    accepted: ranges.Uint8 = 0
    """0 to refuse the main channel, 1 to refuse the first multifd channel that connects."""
    how: Refusal = Refusal.RESET

    def __post_init__(self) -> None:
        if self.select != Select():
            raise ValueError("refuse_connection is not about packets: it takes no select")

    def describe(self) -> str:
        which = f"connection {self.accepted + 1} of the source"
        if self.how is Refusal.NOT_LISTENING:
            return f"stop listening before {which}"
        return f"accept {which} and {'reset' if self.how is Refusal.RESET else 'close'} it at once"


class StallMain(_Fault, Plain, frozen=True, kw_only=True, tag="stall_main"):
    """Stop reading the main channel's stream for a while; its return path is unaffected."""

    until: Until
    since: str = ""
    """An outside event, or ``opened`` for the channel's start; empty for the first selected
    packet.  ``switchover`` and ``switchover_passed`` (a migration with multifd) are right before
    and right behind the command on which the load threads start, ``ram_passed`` is behind RAM's
    last section."""
    devices: ranges.Count = 1
    """Number of devices that ``others`` waits for."""

    def __post_init__(self) -> None:
        if self.until.loaded:
            raise ValueError("stall_main cannot wait for loaded, which is about one packet")

    def describe(self) -> str:
        since = self.since or self.select.describe()
        return f"stall the main channel from {since} on {self.until.describe()}"


Fault = (
    Reorder
    | MoveToChannel
    | Duplicate
    | Drop
    | Hold
    | Delay
    | Pace
    | Rewrite
    | Flip
    | Truncate
    | Extend
    | CutStream
    | Rechunk
    | Inject
    | CloseChannel
    | Hello
    | HoldConnections
    | RefuseConnection
    | StallMain
)
FaultPlan = tuple[Fault, ...]


def describe(plan: Sequence[Fault]) -> str:
    """The plan in one line."""
    return "; then ".join(fault.describe() for fault in plan) or "no faults"


def _refuse_loaded_configuration(select: Select, until: Until | None) -> None:
    if until is not None and until.loaded and select.config:
        raise ValueError("when a configuration is loaded cannot be seen: select data packets")


def _value(name: str, value: int | str) -> str:
    if isinstance(value, int):
        return hex(value) if name in {"magic", "flags", "state_flags"} else str(value)
    if len(value) >= SHORTEST_IDSTR_WITHOUT_END:
        return f"{len(value)} characters"
    return repr(value)


def _short(order: tuple[int, ...]) -> str:
    shown = " ".join(map(str, order[:16]))
    return shown + (" ..." if len(order) > 16 else "")
