"""Packets are delivered one by one, at a limited rate."""

from collections import deque
from collections.abc import Iterator

from harness.proxy.events import After, Arrived, Command, Deliver, Due
from harness.proxy.faults.base import Fault, Random
from harness.scenario import fault_plan as plan
from harness.wire.packets import DEVICE_STATE_HEAD_SIZE

FULL = 16 << 20


class Pace(Fault[plan.Pace]):
    """Delivers a packet when its last byte would have left the slow link."""

    def __init__(self, spec: plan.Pace, random: Random) -> None:
        super().__init__(spec, random)
        self._queue: deque[Arrived] = deque()
        self._bytes = 0

    def hit(self, event: Arrived) -> Iterator[Command]:
        self._queue.append(event)
        self._count(_size(event))
        yield self.note(f"paced to {self.spec.bytes_per_s:g} bytes/s", event.channel, event.packet)
        if len(self._queue) == 1:
            yield self._start()

    def due(self, _event: Due) -> Iterator[Command]:
        event = self._queue.popleft()
        self._count(-_size(event))
        if self._queue:
            yield self._start()
        yield Deliver(event.channel, event.packet)

    def _start(self) -> After:
        return After(_size(self._queue[0]) / self.spec.bytes_per_s, 0)

    def _count(self, size: int) -> None:
        self._bytes += size
        self.is_holding = bool(self._queue)
        self.is_full = self._bytes >= FULL


def _size(event: Arrived) -> int:
    return DEVICE_STATE_HEAD_SIZE + len(event.packet.data)
