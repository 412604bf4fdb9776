"""Fields of either header are set."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault
from harness.proxy.faults.fields import with_fields
from harness.scenario import fault_plan as plan


class Rewrite(Fault[plan.Rewrite]):
    """Sets the spec's ``fields``."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        packet = with_fields(event.packet, self.spec.fields)
        if packet != event.packet:
            yield self.note(self.spec.fields.describe(), event.channel, event.packet)
        yield Deliver(event.channel, packet)
