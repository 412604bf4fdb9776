"""Bits of the data are inverted."""

from collections.abc import Iterator
from dataclasses import replace

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan


class Flip(Fault[plan.Flip]):
    """Inverts the bits of ``mask`` in ``length`` bytes from ``offset`` on, as far as they exist."""

    def hit(self, event: Arrived) -> Iterator[Command]:
        data = bytearray(event.packet.data)
        start = self.spec.offset + (len(data) if self.spec.offset < 0 else 0)
        hit = range(max(start, 0), min(start + self.spec.length, len(data)))
        for offset in hit:
            data[offset] ^= self.spec.mask
        if not hit:
            yield Deliver(event.channel, event.packet)
        else:
            what = f"data bytes {hit[0]} to {hit[-1]} flipped by {self.spec.mask:#04x}"
            yield self.note(what, event.channel, event.packet)
            yield Deliver(event.channel, replace(event.packet, data=bytes(data)))
