"""The main channel's stream is stalled for a while."""

from collections.abc import Iterator

from harness.proxy.events import (
    MAIN,
    Arrived,
    Command,
    Event,
    Notified,
    Opened,
    ResumeMain,
)
from harness.proxy.events import (
    StallMain as Stall,
)
from harness.proxy.faults.base import Fault, Random
from harness.proxy.faults.moment import Moment
from harness.proxy.faults.tally import Tallies
from harness.scenario import fault_plan as plan


class StallMain(Fault[plan.StallMain]):
    """Stalls it once; packets pass as they are."""

    def __init__(self, spec: plan.StallMain, random: Random) -> None:
        super().__init__(spec, random)
        self._tallies = Tallies()
        self._moment: Moment | None = None

    @property
    def keeps_back(self) -> bool:
        return self._moment is not None and not self._moment.is_reached

    def handle(self, event: Event) -> Iterator[Command]:
        if isinstance(event, Arrived):
            self._tallies.see(event.packet)
        elif isinstance(event, Notified):
            self._tallies.hear(event)
        if self._moment is None and self.spec.until.told in self._tallies.phases:
            yield from self._pass_by()
        elif self._moment is None and self._is_start(event):
            yield from self._stall()
        elif self._moment is not None and not self._moment.is_reached and self._moment.see(event):
            yield ResumeMain()
        yield from super().handle(event)

    def source_ended(self) -> Iterator[Command]:
        """The packets that it waits for never come."""
        counts = self.spec.until.others or self.spec.until.packets
        if counts and self._moment is not None and not self._moment.is_reached:
            self._moment.is_reached = True
            yield ResumeMain()

    def _is_start(self, event: Event) -> bool:
        match event:
            case Arrived() if not self.spec.since:
                return self.selects(event)
            case Opened(channel=channel):
                return self.spec.since == "opened" and channel == MAIN
            case Notified(name=name):
                return bool(self.spec.since) and self.spec.since == name
            case _:
                return False

    def _new_moment(self) -> Moment:
        return Moment(self.spec.until, None, self._tallies, 0, self.spec.devices)

    def _pass_by(self) -> Iterator[Command]:
        """What was not to pass before ``until`` has not: there is nothing to stall any more."""
        self._moment = self._new_moment()
        self._moment.is_reached = True
        yield self.note(f"not stalled: {self.spec.until.told} came first", MAIN)

    def _stall(self) -> Iterator[Command]:
        self._moment = self._new_moment()
        yield self.note(f"stalled {self.spec.until.describe()}", MAIN)
        yield Stall()
        if self._moment.is_reached:
            yield ResumeMain()
        yield from self._moment.start()
