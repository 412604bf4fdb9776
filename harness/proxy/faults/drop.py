"""Packets are not delivered."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan


class Drop(Fault[plan.Drop]):
    """Drops the packets that the spec selects."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        yield self.note("dropped", event.channel, event.packet)
