"""Packets are delivered on another channel than they came on."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault, Random
from harness.scenario import fault_plan as plan


class MoveToChannel(Fault[plan.MoveToChannel]):
    """Moves them to the channel that the spec names, or to each in turn."""

    def __init__(self, spec: plan.MoveToChannel, random: Random) -> None:
        super().__init__(spec, random)
        self._known: set[int] = set()  # also those that the source has ended by now
        self._turn = 0

    def hit(self, event: Arrived) -> Iterator[Command]:
        self._known |= self.channels | {event.channel}
        if self.spec.channel is not None:
            channel = self.spec.channel
        else:
            channel = sorted(self._known)[self._turn % len(self._known)]
            self._turn += 1
        if channel != event.channel:
            yield self.note(f"moved to channel {channel}", event.channel, event.packet)
        yield Deliver(channel, event.packet)
