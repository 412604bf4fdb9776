"""What the guest reported of its memory and its devices, on either side's console.

It checks both after each round and then fills them again, so each damage is reported once.
"""

from harness.check.evidence import PEERS, Evidence
from harness.history.guest import GaveUp, Round
from harness.history.records import Record, Side

_GOOD = "good"

Damage = tuple[str, Record[Round]]
"""The guest's words, and the round in which it reported them."""


def rounds(evidence: Evidence, side: Side) -> list[Record[Round]]:
    """Each round that the guest reported on the console of ``side``."""
    return list(evidence.of(Round, side))


def damaged_memory(evidence: Evidence) -> Damage | None:
    """The first time that the guest found its memory damaged."""
    for side in PEERS:
        for record in rounds(evidence, side):
            if record.args.memory != _GOOD:
                return record.args.memory, record
    return None


def damaged_device(evidence: Evidence, device: str, side: Side) -> Damage | None:
    """The first time that the guest found BAR 0 of the device damaged, on ``side``."""
    for record in rounds(evidence, side):
        if (said := record.args.devices.get(device, _GOOD)) != _GOOD:
            return said, record
    return None


def tells_of(evidence: Evidence, device: str) -> bool:
    """Whether it has reported the device at the destination."""
    return any(device in record.args.devices for record in rounds(evidence, Side.DESTINATION))


def found_whole(evidence: Evidence, device: str) -> bool:
    """Whether it has reported the device at the destination, and each time as good."""
    return tells_of(evidence, device) and damaged_device(evidence, device, Side.DESTINATION) is None


def went_back(evidence: Evidence) -> tuple[Record[Round], Record[Round]] | None:
    """A round of the source, and one that is no later though reported at the destination.

    Not where either side was reset: the guest began again then.
    """
    if any(evidence.qmp(side, "RESET") for side in PEERS):
        return None
    before, after = rounds(evidence, Side.SOURCE), rounds(evidence, Side.DESTINATION)
    if before and after and after[0].args.round <= before[-1].args.round:
        return before[-1], after[0]
    return None


def gave_up(evidence: Evidence) -> Record[GaveUp] | None:
    """The guest's report that it cannot go on."""
    return next((r for side in PEERS for r in evidence.of(GaveUp, side)), None)
