"""Each packet is delivered a fixed time after it came."""

from collections.abc import Iterator

from harness.proxy.events import After, Arrived, Command, Deliver, Due
from harness.proxy.faults.base import Fault, Random
from harness.scenario import fault_plan as plan

FULL = 16 << 20


class Delay(Fault[plan.Delay]):
    """Several packets are under way at once, as on a link of high latency."""

    def __init__(self, spec: plan.Delay, random: Random) -> None:
        super().__init__(spec, random)
        self._on_their_way: dict[int, Arrived] = {}
        self._bytes = 0
        self._tokens = 0

    def hit(self, event: Arrived) -> Iterator[Command]:
        self._tokens += 1
        self._on_their_way[self._tokens] = event
        self._count(len(event.packet.data))
        yield self.note(f"delayed by {self.spec.delay_s:g} s", event.channel, event.packet)
        yield After(self.spec.delay_s, self._tokens)

    def due(self, event: Due) -> Iterator[Command]:
        arrived = self._on_their_way.pop(event.token)
        self._count(-len(arrived.packet.data))
        yield Deliver(arrived.channel, arrived.packet)

    def _count(self, size: int) -> None:
        self._bytes += size
        self.is_holding = bool(self._on_their_way)
        self.is_full = self._bytes >= FULL
