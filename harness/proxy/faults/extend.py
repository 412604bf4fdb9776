"""Payloads are extended."""

from collections.abc import Iterator
from dataclasses import replace

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault
from harness.proxy.faults.inject import FILL
from harness.scenario import fault_plan as plan


class Extend(Fault[plan.Extend]):
    """Appends ``size`` bytes to the data."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        packet, size = event.packet, self.spec.size
        yield self.note(f"{size} bytes appended to {len(packet.data)}", event.channel, packet)
        yield Deliver(event.channel, replace(packet, data=packet.data + FILL * size))
