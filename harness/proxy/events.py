"""What a fault is told (**events**) and what it answers with (**commands**).

=====================  ===========================================================
told                   value
=====================  ===========================================================
``loaded``             bytes of state that the destination's ``device`` has taken so far
``switchover``         offset of the command on the main channel that starts it: the source
                       has stopped its VM, and the destination does not know yet
``switchover_passed``  --: the destination gets that command, and nothing behind it yet
others                 whatever the session tells (``Relay.tell``)
=====================  ===========================================================

After mitmproxy's ``proxy/events.py`` and ``proxy/commands.py``.
"""

from dataclasses import dataclass

from harness.wire.packets import DeviceStatePacket, MultiFDInit

MAIN = -1
"""Number of the main channel; multifd channels have those of their hellos."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel's first bytes have told what it is."""

    channel: int


@dataclass(frozen=True, slots=True)
class Greeted:
    """The hello of a multifd channel came; ``channel`` is the number that the source gave it."""

    channel: int
    hello: MultiFDInit


@dataclass(frozen=True, slots=True)
class Waiting:
    """A connection of the source waits behind the ``accepted`` ones."""

    accepted: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A device-state packet came; ``order`` is its place among all that did, from 0."""

    channel: int
    packet: DeviceStatePacket
    order: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The source sends no more on a multifd channel."""

    channel: int


@dataclass(frozen=True, slots=True)
class Told:
    """Something happened outside; ``device`` is an idstr, empty where it is about none."""

    name: str
    value: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """The delay of an ``After`` with this token is over."""

    token: int


Event = Opened | Greeted | Waiting | Arrived | Ended | Told | Due


@dataclass(frozen=True, slots=True)
class Greet:
    """Hand the hello on: to the next fault, at last to the destination."""

    channel: int
    hello: MultiFDInit


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the packet on: to the next fault, at last to the destination."""

    channel: int
    packet: DeviceStatePacket


@dataclass(frozen=True, slots=True)
class DeliverRaw:
    """Send bytes that are no packet to the destination, past the faults behind."""

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
    """Tell me ``Due(token)`` when ``delay_s`` have passed."""

    delay_s: float
    token: int


@dataclass(frozen=True, slots=True)
class StallMain:
    """Read no more of the main channel's stream."""


@dataclass(frozen=True, slots=True)
class ResumeMain:
    """Read on."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a fault did, for the history; ``position`` is the fault's in the chain."""

    what: str
    channel: int
    packet: DeviceStatePacket | None = None
    position: int = 0


Command = Greet | Deliver | DeliverRaw | End | Close | After | StallMain | ResumeMain | Note
