"""Packets are delivered at a later moment."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.waiting import WaitingFault
from harness.scenario import fault_plan as plan


class Hold(WaitingFault[plan.Hold]):
    """Keeps a packet until its moment; one that is never reached keeps it for good."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        if self.is_past(event):
            yield Deliver(event.channel, event.packet)
            return
        yield self.note(f"held {self.spec.until.describe()}", event.channel, event.packet)
        yield from self.wait(self.spec.until, event)

    def released(self, event: Arrived) -> Iterator[Command]:
        yield Deliver(event.channel, event.packet)
