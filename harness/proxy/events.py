"""What a fault gets (**events**) and what it answers with (**commands**).

Outside events, which come as ``Notified``:

=====================  ===========================================================
name                   value
=====================  ===========================================================
``loaded``             bytes of state that the destination's ``device`` has taken so far
``switchover``         offset of the command on the main channel that starts it: the source
                       has stopped its VM, and the destination does not know yet
``switchover_passed``  --: the destination gets that command, and nothing behind it yet
``ram_passed``         --: the destination gets the last of RAM on the main channel, and nothing
                       behind it yet; its channels wait for nothing more from there
``channel_ended``      --: the destination has closed a multifd channel before the source, as it
                       does when it refuses something
others                 those of the session (``Relay.notify``)
=====================  ===========================================================

After mitmproxy's ``proxy/events.py`` and ``proxy/commands.py``.
"""

from dataclasses import dataclass

from harness.wire.packets import DeviceStatePacket, MultiFDInit

MAIN = -1
"""Number of the main channel; multifd channels have those of their hellos."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel's first bytes have shown what it is."""

    channel: int


@dataclass(frozen=True, slots=True)
class Greeted:
    """The hello of a multifd channel came; ``channel`` is the number that the source sent."""

    channel: int
    hello: MultiFDInit


@dataclass(frozen=True, slots=True)
class Waiting:
    """A connection of the source waits behind the ``accepted`` ones."""

    accepted: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The connection of the source behind the ``accepted`` ones was refused, or will be: the relay
    does not listen any more.
    """

    accepted: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A device-state packet came; ``order`` counts those that have arrived at this fault."""

    channel: int
    packet: DeviceStatePacket
    order: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The source sends no more on a multifd channel."""

    channel: int


@dataclass(frozen=True, slots=True)
class Notified:
    """An outside event; ``device`` is an idstr, empty if it is about none."""

    name: str
    value: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """The delay of an ``After`` with this token is over."""

    token: int


Event = Opened | Greeted | Waiting | Refused | Arrived | Ended | Notified | Due


@dataclass(frozen=True, slots=True)
class Greet:
    """Pass the hello on to the next fault, and last to the destination."""

    channel: int
    hello: MultiFDInit


@dataclass(frozen=True, slots=True)
class Deliver:
    """Pass the packet on to the next fault, and last to the destination."""

    channel: int
    packet: DeviceStatePacket


@dataclass(frozen=True, slots=True)
class DeliverRaw:
    """Send the destination bytes that are no packet, past the faults behind."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Pass the source's end of a multifd channel on to the destination."""

    channel: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close both ends of a channel, with a reset (TCP) where it is abrupt."""

    channel: int
    is_abrupt: bool = False


@dataclass(frozen=True, slots=True)
class After:
    """Send this fault ``Due(token)`` after ``delay_s`` seconds."""

    delay_s: float
    token: int


@dataclass(frozen=True, slots=True)
class StallMain:
    """Stop reading the main channel's stream."""


@dataclass(frozen=True, slots=True)
class ResumeMain:
    """Read the main channel's stream again."""


@dataclass(frozen=True, slots=True)
class Note:
    """Record what a fault did; ``position`` is the fault's in the chain."""

    what: str
    channel: int
    packet: DeviceStatePacket | None = None
    position: int = 0


Command = Greet | Deliver | DeliverRaw | End | Close | After | StallMain | ResumeMain | Note
