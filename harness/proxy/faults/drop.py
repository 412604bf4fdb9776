"""Packets are not delivered."""

from collections.abc import Iterator

from harness import fault_plan as plan
from harness.proxy.events import Arrived, Command
from harness.proxy.faults.base import Fault


class Drop(Fault[plan.Drop]):
    """Swallows what the spec selects."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        yield self.note("dropped", event.channel, event.packet)
