"""Packets are held until a later moment."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.waiting import WaitingFault
from harness.scenario import fault_plan as plan


class Hold(WaitingFault[plan.Hold]):
    """Holds a packet until its moment, for good if that never comes."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        if self.is_past(event):
            yield Deliver(event.channel, event.packet)
            return
        yield self.note(f"held {self.spec.until.describe()}", event.channel, event.packet)
        yield from self.wait(self.spec.until, event)

    def released(self, event: Arrived) -> Iterator[Command]:
        yield Deliver(event.channel, event.packet)
