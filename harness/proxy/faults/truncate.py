"""Payloads are truncated."""

from collections.abc import Iterator
from dataclasses import replace

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan
from harness.wire.packets import DeviceStatePacket, stated_payload_size


class Truncate(Fault[plan.Truncate]):
    """Keeps the first ``size`` bytes; the stated length becomes true or stays."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        head, payload = event.packet.pack_head(), event.packet.payload
        if self.spec.size >= len(payload):
            yield Deliver(event.channel, event.packet)
            return
        packet = DeviceStatePacket.unpack(head, payload[: self.spec.size])
        stale = stated_payload_size(head) if self.spec.is_stale else None
        what = f"payload of {len(payload)} bytes truncated to {self.spec.size}"
        yield self.note(what, event.channel, event.packet)
        yield Deliver(event.channel, replace(packet, next_packet_size=stale))
