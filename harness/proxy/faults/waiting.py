"""Base of hold and duplicate: deliveries that wait for their moments."""

from collections.abc import Iterator
from typing import TypeVar

from harness.errors import UsageError
from harness.proxy.events import Arrived, Command, Due, Event, Notified
from harness.proxy.faults.base import Fault, Random
from harness.proxy.faults.moment import Moment
from harness.proxy.faults.tally import Tallies
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Until

Spec = TypeVar("Spec", bound=plan.Hold | plan.Duplicate)


class WaitingFault(Fault[Spec]):
    """A subclass calls ``wait`` for a packet, and ``released`` is called at its moment."""

    def __init__(self, spec: Spec, random: Random) -> None:
        super().__init__(spec, random)
        self.tallies = Tallies()
        self._waiting: list[tuple[Moment, Arrived]] = []
        self._tokens = 0

    def handle(self, event: Event) -> Iterator[Command]:
        if isinstance(event, Arrived):
            self.tallies.see(event.packet)
        elif isinstance(event, Notified):
            self.tallies.hear(event)
        before = list(self._waiting)
        yield from super().handle(event)
        if isinstance(event, Arrived | Notified | Due):
            yield from self._release(before, event)

    def is_past(self, event: Arrived) -> bool:
        """Whether the moment of a packet that has just come is now or past."""
        until = self.spec.until
        return until is not None and (
            (until.others and self.tallies.of(event.packet).is_complete)
            or until.told in self.tallies.phases
        )

    def wait(self, until: Until, event: Arrived) -> Iterator[Command]:
        """Wait for the moment of the packet of ``event``, which is to come.

        :raise UsageError: the moment cannot be known
        """
        if until.loaded and event.packet.is_config:
            raise UsageError(
                f"{self.spec.describe()}: packet {event.packet.idx} is the configuration, and "
                "when that is loaded cannot be seen: select config = false"
            )
        self._tokens += 1
        moment = Moment(until, event.packet, self.tallies, self._tokens)
        self._waiting.append((moment, event))
        self.is_holding = True
        yield from moment.start()

    def released(self, event: Arrived) -> Iterator[Command]:
        """The moment of the packet of ``event`` has come."""
        raise NotImplementedError

    def _release(self, waiting: list[tuple[Moment, Arrived]], event: Event) -> Iterator[Command]:
        for moment, held in waiting:
            if moment.see(event):
                self._waiting.remove((moment, held))
                yield from self.released(held)
        self.is_holding = bool(self._waiting)
