"""A channel is closed in the middle of a packet."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Close, Command, Deliver, DeliverRaw
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan


class CutStream(Fault[plan.CutStream]):
    """Cuts once, at the first selected packet that is longer than ``size``."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        data = event.packet.pack()
        if self.fired or self.spec.size >= len(data):
            yield Deliver(event.channel, event.packet)
            return
        what = f"channel closed after {self.spec.size} of {len(data)} bytes"
        yield self.note(what, event.channel, event.packet)
        yield DeliverRaw(event.channel, data[: self.spec.size])
        yield Close(event.channel, self.spec.is_abrupt)
