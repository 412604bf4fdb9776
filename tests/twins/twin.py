"""A **broken twin**: one defect of a QEMU, or of a device, as a change of a history.

It takes a history that keeps the requirements, and damages it the way the defect would.  It
names the requirement that must catch it, and those that it breaks as well.  A rule that lets its
twin pass does not judge anything.  Twins work on recorded runs and on synthetic ones, and raise
:class:`Unfit` on one that has nothing to damage.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from harness.history.records import Record
from harness.history.rundir import History

Damage = Callable[[list[Record]], list[Record]]


@dataclass(frozen=True, slots=True)
class Twin:
    """One defect."""

    name: str
    requirement: str
    """The requirement that must catch it."""
    damage: Damage
    shown_on: str
    """The good run that it damages: a name of ``tests.unit.check.histories.GOOD``."""
    also: frozenset[str] = field(default_factory=frozenset)
    """Requirements that such a defect breaks as well."""

    def of(self, history: History) -> History:
        """The history as this defect would have left it.

        :raise Unfit: it has nothing to damage
        """
        records = sorted(self.damage(list(history.records)), key=lambda record: record.t_ns)
        manifest = msgspec.structs.replace(history.manifest, records=len(records))
        return History(history.scenario, manifest, records)


TWINS: list[Twin] = []
"""All that have been made with :func:`twin`."""


def twin(requirement: str, *also: str, on: str = "multifd") -> Callable[[Damage], Damage]:
    """A decorator that registers a damage as a twin, under its function's name."""

    def register(damage: Damage) -> Damage:
        TWINS.append(Twin(damage.__name__, requirement, damage, on, frozenset(also)))
        return damage

    return register
