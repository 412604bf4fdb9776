"""Packets are delivered more than once."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.waiting import WaitingFault
from harness.scenario import fault_plan as plan


class Duplicate(WaitingFault[plan.Duplicate]):
    """Delivers the copies right behind the packet, or at a later moment."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        until = self.spec.until
        yield Deliver(event.channel, event.packet)
        if until is None or self.is_past(event):
            yield from self.released(event)
        else:
            yield from self.wait(until, event)

    def released(self, event: Arrived) -> Iterator[Command]:
        channel = event.channel if self.spec.channel is None else self.spec.channel
        for _ in range(self.spec.copies):
            yield self.note(f"delivered again on channel {channel}", event.channel, event.packet)
            yield Deliver(channel, event.packet)
