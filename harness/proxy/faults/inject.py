"""Made-up packets are delivered besides the source's own."""

from collections.abc import Iterator
from dataclasses import replace

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault
from harness.proxy.faults.fields import with_fields, with_payload
from harness.scenario import fault_plan as plan
from harness.wire.packets import DeviceStatePacket

FILL = b"\xa5"


class Inject(Fault[plan.Inject]):
    """Copies the selected packet and sets the spec's fields, data or payload."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        if not self.spec.is_before:
            yield Deliver(event.channel, event.packet)
        channel = event.channel if self.spec.channel is None else self.spec.channel
        model = self._model(event.packet)
        for number in range(self.spec.copies):
            packet = model
            if packet.idx is not None:
                packet = replace(packet, idx=(packet.idx + number * self.spec.idx_step) % 2**32)
            yield self.note(f"injected packet {packet.idx}", channel, packet)
            yield Deliver(channel, packet)
        if self.spec.is_before:
            yield Deliver(event.channel, event.packet)

    def _model(self, packet: DeviceStatePacket) -> DeviceStatePacket:
        spec = self.spec
        if spec.payload is not None:
            packet = with_payload(packet, spec.payload)
        elif spec.data is not None:
            packet = replace(packet, data=spec.data)
        elif spec.size is not None:
            packet = replace(packet, data=FILL * spec.size)
        return with_fields(packet, spec.fields)
