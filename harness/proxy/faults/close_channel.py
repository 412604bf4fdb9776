"""Channels are closed between two packets."""

from collections.abc import Iterator

from harness.proxy.events import MAIN, Arrived, Close, Command, Deliver
from harness.proxy.faults.base import Fault, Random
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Which


class CloseChannel(Fault[plan.CloseChannel]):
    """Closes once, at the ``nth`` packet that the spec selects."""

    def __init__(self, spec: plan.CloseChannel, random: Random) -> None:
        super().__init__(spec, random)
        self._left = spec.nth

    def hit(self, event: Arrived) -> Iterator[Command]:
        self._left -= 1
        is_it = self._left == 0
        if is_it and self.spec.is_before:
            yield from self._close(event)
        yield Deliver(event.channel, event.packet)
        if is_it and not self.spec.is_before:
            yield from self._close(event)

    def _close(self, event: Arrived) -> Iterator[Command]:
        match self.spec.which:
            case Which.OWN:
                channels = [event.channel]
            case Which.MAIN:
                channels = [MAIN]
            case Which.MULTIFD:
                channels = sorted(self.channels)
            case Which.ALL:
                channels = [*sorted(self.channels), MAIN]
        for channel in channels:
            yield self.note("channel closed", channel, event.packet)
            yield Close(channel, self.spec.is_abrupt)
