"""Connections of the source wait to be accepted."""

from collections.abc import Iterator

from harness.proxy.events import MAIN, Command, Event, Waiting
from harness.proxy.faults.base import Fault, Random
from harness.proxy.faults.moment import Moment
from harness.proxy.faults.tally import Tallies
from harness.scenario import fault_plan as plan


class HoldConnections(Fault[plan.HoldConnections]):
    """Holds them once, for good if the moment never comes."""

    def __init__(self, spec: plan.HoldConnections, random: Random) -> None:
        super().__init__(spec, random)
        self.lets_in = spec.accepted
        self._moment = Moment(spec.until, None, Tallies(), 0)

    @property
    def keeps_back(self) -> bool:
        return self.fired > 0 and self.lets_in is not None

    def handle(self, event: Event) -> Iterator[Command]:
        if self._moment.see(event):
            self.lets_in = None
        yield from super().handle(event)

    def waiting(self, event: Waiting) -> Iterator[Command]:
        if self.fired or self.lets_in is None or event.accepted < self.lets_in:
            return
        yield self.note(f"connections held {self.spec.until.describe()}", MAIN)
        yield from self._moment.start()
