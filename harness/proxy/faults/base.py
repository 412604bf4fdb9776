"""What a fault is."""

from collections.abc import Iterator, MutableSequence
from typing import Any, Generic, Protocol, TypeVar

from harness.proxy.events import (
    Arrived,
    Command,
    Deliver,
    Due,
    Ended,
    Event,
    Greet,
    Greeted,
    Note,
    Notified,
    Opened,
    Refused,
    Waiting,
)
from harness.scenario import fault_plan as plan
from harness.wire.packets import DeviceStatePacket

Spec = TypeVar("Spec", bound=plan.Fault)


class Random(Protocol):
    """The part of ``random.Random`` that a fault uses."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Put ``x`` into a random order."""


class Fault(Generic[Spec]):
    """Gets events, answers with commands; as it is, it delivers everything.

    A subclass overrides ``hit`` for the packets that its spec selects, or ``arrived``
    for all, and whichever other events it needs.

    :ivar is_holding: it will still deliver something; until then no channel is ended
    :ivar is_full: it holds so much that no more packets should be read for now; only for
        a fault that a delay empties
    :ivar lets_in: how many connections of the source may be accepted in all; None if any number
    :ivar refuses: number of the connection of the source that is refused, from 0, and how; None
        if none is
    :ivar fired: how often it has changed anything; 0 makes the run UNKNOWN
    """

    def __init__(self, spec: Spec, random: Random) -> None:
        self.spec = spec
        self.random = random
        self.is_holding = False
        self.is_full = False
        self.lets_in: int | None = None
        self.refuses: tuple[int, plan.Refusal] | None = None
        self.fired = 0
        self.channels: set[int] = set()
        """Multifd channels that the source has open."""

    @property
    def keeps_back(self) -> bool:
        """Whether it holds something back whose moment has not come."""
        return self.is_holding

    def handle(self, event: Event) -> Iterator[Command]:
        """Commands for ``event``."""
        match event:
            case Arrived():
                yield from self.arrived(event)
            case Notified():
                yield from self.notified(event)
            case Due():
                yield from self.due(event)
            case Greeted():
                yield from self.greeted(event)
            case Waiting():
                yield from self.waiting(event)
            case Refused():
                yield from self.refused(event)
            case Opened():
                if event.channel >= 0:
                    self.channels.add(event.channel)
            case Ended():
                self.channels.discard(event.channel)
                if not self.channels:
                    yield from self.source_ended()

    def arrived(self, event: Arrived) -> Iterator[Command]:
        """A packet came."""
        if self.selects(event):
            yield from self.hit(event)
        else:
            yield Deliver(event.channel, event.packet)

    def hit(self, event: Arrived) -> Iterator[Command]:
        """A packet came that the spec selects."""
        yield Deliver(event.channel, event.packet)

    def greeted(self, event: Greeted) -> Iterator[Command]:
        """A hello came."""
        yield Greet(event.channel, event.hello)

    def waiting(self, _event: Waiting) -> Iterator[Command]:
        """A connection of the source waits to be accepted."""
        yield from ()

    def refused(self, _event: Refused) -> Iterator[Command]:
        """A connection of the source was refused."""
        yield from ()

    def notified(self, _event: Notified) -> Iterator[Command]:
        """An outside event came."""
        yield from ()

    def due(self, _event: Due) -> Iterator[Command]:
        """A delay is over."""
        yield from ()

    def source_ended(self) -> Iterator[Command]:
        """The last multifd channel has ended: no more packets come."""
        yield from ()

    def selects(self, event: Arrived) -> bool:
        """Whether the spec selects this packet."""
        select, packet = self.spec.select, event.packet
        return (
            select.device in ("", packet.device)
            and (not select.idx or packet.idx in select.idx)
            and select.config in (None, packet.is_config)
            and select.channel in (None, event.channel)
        )

    def note(self, what: str, channel: int, packet: DeviceStatePacket | None = None) -> Note:
        """The record of a change, which is counted."""
        self.fired += 1
        return Note(what, channel, packet)
