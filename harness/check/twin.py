"""A **broken twin**: one defect, as a change of a history.

Each takes a history that keeps the requirements and damages it the way one defect would;
each names the requirement that must catch it, and those that it breaks besides.  A rule
that lets its twin pass does not judge anything.  They work on recorded runs as well as
on made-up ones, and raise :class:`Unfit` on one that has nothing to damage.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from harness.history.records import Record
from harness.history.rundir import History

Damage = Callable[[list[Record]], list[Record]]
SHOWN_ON = {
    "multifd": "completes over multifd: two devices, the first of 16 packets or more",
    "slow": "completes over multifd to a device that takes 0.3 s for each of 30 writes",
    "short writes": "completes, to a device that cuts writes short",
    "refused": "on, where multifd is off",
    "compression": "auto, with multifd compression",
    "old machine": "machine type 9.2, setting not given",
    "two versions": "completes, to a QEMU of another version",
    "blocked": "a device that cannot migrate, enable-migration off or auto",
    "launch refused": "a device that cannot migrate, enable-migration on",
    "relayed": "as multifd, with a relay that changes nothing",
    "duplicate": "a packet comes twice and is refused",
    "foreign device": "a packet for a device on the main channel is refused",
    "short packet": "a packet without room for its header is refused",
    "version": "a packet of an unknown version is refused",
    "invalid index": "index 0xffffffff is refused",
    "far index": "an index far beyond the state is refused; the memory was measured",
    "two configurations": "a second configuration is refused",
    "config marker": "a configuration with a wrong marker is refused",
    "unknown idstr": "a packet for nobody is refused",
    "magic": "a packet with a wrong magic is refused",
    "over the limit": "more bytes queued than allowed are refused",
    "missing packet": "the destination waits for a packet until the deadline, and answers",
    "closed channel": "a channel closes early, and the destination fails",
    "cancelled": "cancelled while it is active",
    "killed destination": "the destination is killed while it is active",
    "device error": "the destination's device fails a write",
    "not converging": "in pre-copy to the end, with more pending than allowed",
    "storm": "completes in a storm of commands to the destination",
    "second migration": "as multifd, from the destination of a migration before it",
    "measured": "completes, 64 MiB or more; the destination's memory was measured",
    "after iter": "config waits for the main channel, which was stalled",
    "no return path": "completes without a return path",
    "kernel's devices": "completes with a relay: two mdev serial cards",
    "tls": "as multifd, with TLS, through a relay",
    "tls refused": "TLS refuses the source; the destination waits for another",
    "guest": "completes, and a guest runs that says so",
}
"""Kinds of runs on which twins are shown."""


@dataclass(frozen=True, slots=True)
class Twin:
    """One defect."""

    name: str
    requirement: str
    """The requirement that must catch it."""
    damage: Damage
    shown_on: str
    """What kind of run it needs: names of ``SHOWN_ON``."""
    also: frozenset[str] = field(default_factory=frozenset)
    """Requirements that such a defect breaks besides."""

    def of(self, history: History) -> History:
        """The history as this defect would have left it.

        :raise Unfit: it has nothing to damage
        """
        records = sorted(self.damage(list(history.records)), key=lambda record: record.t_ns)
        manifest = msgspec.structs.replace(history.manifest, records=len(records))
        return History(history.scenario, manifest, records)


def register_in(twins: list[Twin]) -> Callable[..., Callable[[Damage], Damage]]:
    """A decorator that puts a damage into ``twins`` under its function's name."""

    def twin(requirement: str, *also: str, on: str = "multifd") -> Callable[[Damage], Damage]:
        def register(damage: Damage) -> Damage:
            twins.append(Twin(damage.__name__, requirement, damage, on, frozenset(also)))
            return damage

        return register

    return twin
