"""A connection of the source is refused."""

from collections.abc import Iterator

from harness.proxy.events import MAIN, Command, Refused
from harness.proxy.faults.base import Fault, Random
from harness.scenario import fault_plan as plan

_NOT_KNOWN = -2
"""Channel of a connection that was not read."""


class RefuseConnection(Fault[plan.RefuseConnection]):
    """The relay refuses it."""

    def __init__(self, spec: plan.RefuseConnection, random: Random) -> None:
        super().__init__(spec, random)
        self.refuses = spec.accepted, spec.how

    def refused(self, event: Refused) -> Iterator[Command]:
        if event.accepted == self.spec.accepted:
            channel = _NOT_KNOWN if event.accepted else MAIN
            yield self.note(f"connection refused: {self.spec.how}", channel)
