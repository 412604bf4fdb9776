"""Packets are delivered at a later moment."""

from collections.abc import Iterator

from harness import fault_plan as plan
from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.waiting import WaitingFault


class Hold(WaitingFault[plan.Hold]):
    """Keeps a packet until its moment; one that is never reached keeps it for good."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        until = self.spec.until
        if until.others and self.tallies.of(event.packet).is_whole:
            yield Deliver(event.channel, event.packet)  # it is the last anyway
            return
        yield self.note(f"held {until.describe()}", event.channel, event.packet)
        yield from self.wait(until, event)

    def released(self, event: Arrived) -> Iterator[Command]:
        yield Deliver(event.channel, event.packet)
