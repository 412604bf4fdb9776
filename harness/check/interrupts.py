"""Whether the MSI-X interrupts of a device get over a migration: a part of ORD-4.

QEMU saves the MSI-X table and the pending bits with the configuration, and arms the device's
vectors once it has loaded them (vfio_pci_load_config() in hw/vfio/pci.c).  Without a guest, the
harness lets each vector write a word of RAM (``harness.session.interrupts``).

How it could be wrong.  VIOLATED of a right QEMU: an interrupt may be on its way when RAM is looked
at; so it is looked for several times, and QEMU's main loop handles all that is ready each time.  A
vector that was never armed need not arrive.  VALID for nothing seen: each interrupt that was fired
must be found in RAM.
"""

from collections.abc import Mapping
from typing import NamedTuple

from harness.check.evidence import CONFIG_START, Evidence
from harness.history.device import Arc, Armed, Fired
from harness.history.guest import Interrupts
from harness.history.records import Record, Side
from harness.history.session import GuestInterrupts
from harness.scenario import EmulatedDevice
from harness.scenario.interrupts import At

_ENABLED, _MASKED = 1 << 15, 1 << 14
"""PCI_MSIX_FLAGS_ENABLE and PCI_MSIX_FLAGS_MASKALL."""
Views = Mapping[tuple[Side, str], Record[GuestInterrupts]]


class Wrong(NamedTuple):
    """What QEMU did not do."""

    sentence: str
    shape: str
    records: list[Record]


class Found(NamedTuple):
    """What became of the interrupts of one device."""

    wrong: Wrong | None = None
    why_unknown: str = ""
    arrived: int = 0


def found(evidence: Evidence, device: EmulatedDevice) -> Found:
    """What became of them in a migration that has completed."""
    if evidence.scenario.guest is not None:
        return _shown_by_guest(evidence, device.id)
    views: Views = {
        (record.side, record.args.moment): record
        for record in evidence.of(GuestInterrupts, device=device.id)
    }
    after = views.get((Side.DESTINATION, "after"))
    last = views.get((Side.DESTINATION, "unmasked")) if device.interrupts.masked else after
    if after is None or last is None:
        return Found(why_unknown=f"{device.id}: whether its interrupts arrived was not seen")
    fired = _signalled(evidence, device.id)
    early = views.get((Side.SOURCE, "before"))
    for record in fired:
        if record.args.at == At.BEFORE and (
            early is None or record.args.vector not in (*early.args.arrived, *early.args.pending)
        ):
            vector = record.args.vector
            return Found(why_unknown=f"{device.id}: vector {vector} never worked at the source")
    wrong: Wrong | None = (
        _not_programmed(device.id, early, after)
        or (_not_armed(evidence, device.id, after) if _is_enabled(after) else None)
        or _lost(device.id, fired, views, last)
        or _not_shown(device.id, fired, after, last)
    )
    return Found(wrong, "", len(last.args.arrived))


def _shown_by_guest(evidence: Evidence, device: str) -> Found:
    """The guest's console lists all that have come, on both sides, again and again."""
    shown = {
        side: [record for record in evidence.of(Interrupts, side) if record.args.device == device]
        for side in (Side.SOURCE, Side.DESTINATION)
    }
    if not shown[Side.DESTINATION]:
        return Found(why_unknown=f"{device}: the guest has not shown its interrupts")
    last = shown[Side.DESTINATION][-1]
    if (wrong := _not_armed(evidence, device, last)) is not None:
        return Found(wrong)
    before = shown[Side.SOURCE][-1].args.vectors if shown[Side.SOURCE] else []
    for record in _signalled(evidence, device):
        vector = record.args.vector
        if vector in last.args.vectors:
            continue
        if record.args.at == At.BEFORE and vector not in before:
            return Found(why_unknown=f"{device}: vector {vector} never worked at the source")
        return Found(
            Wrong(
                f"{device}: vector {vector}, fired by the {record.side}'s device while it ran "
                f"({record.args.at}), did not reach the guest at the destination",
                "interrupt-lost",
                [record, last],
            )
        )
    return Found(arrived=len(last.args.vectors))


def _signalled(evidence: Evidence, device: str) -> list[Record[Fired]]:
    """Interrupts that QEMU was given: at once, or when it armed the vector."""
    later = {
        vector
        for record in evidence.of(Armed, Side.DESTINATION, device)
        for vector in record.args.vectors
    }
    return [
        record
        for record in evidence.of(Fired, device=device)
        if record.args.armed or (record.side is Side.DESTINATION and record.args.vector in later)
    ]


def _not_programmed(
    device: str, early: Record[GuestInterrupts] | None, after: Record[GuestInterrupts]
) -> Wrong | None:
    """Entries of the MSI-X table that read as another value."""
    before = early.args.programmed if early is not None else []
    changed = [vector for vector in before if vector not in after.args.programmed]
    if early is None or not changed:
        return None
    return Wrong(
        f"{device}: entries {_listed(changed)} of the MSI-X table read as something else at the "
        "destination",
        "msix-table-differs",
        [early, after],
    )


def _is_enabled(after: Record[GuestInterrupts]) -> bool:
    """Whether MSI-X is enabled, and nothing masked."""
    return after.args.control & (_ENABLED | _MASKED) == _ENABLED


def _not_armed(evidence: Evidence, device: str, after: Record) -> Wrong | None:
    """Vectors that were armed as the source stopped, and are not at the destination.

    :param after: a record of the guest there, which has them enabled
    """
    stopped = [
        record.t_ns
        for record in evidence.of(Arc, Side.SOURCE, device)
        if record.args.state == "STOP_COPY" and not record.args.errno
    ]
    before = [
        record
        for record in evidence.of(Armed, Side.SOURCE, device)
        if stopped and record.t_ns < stopped[0] and not record.args.errno
    ]
    begun = evidence.trace(Side.DESTINATION, CONFIG_START, device)
    calls = [
        record
        for record in evidence.of(Armed, Side.DESTINATION, device)
        if begun and record.t_ns >= begun[0].t_ns
    ]
    if not before or not begun:
        return None
    ours, theirs = before[-1].args.vectors, calls[-1].args.vectors if calls else []
    missing = [vector for vector in ours if vector not in theirs]
    if not missing:
        return None
    return Wrong(
        f"{device}: the guest has vectors {_listed(missing)} enabled, and the destination has not "
        "armed them",
        "vectors-not-armed",
        [before[-1], *calls[-1:], after],
    )


def _lost(
    device: str,
    fired: list[Record[Fired]],
    views: Views,
    last: Record[GuestInterrupts],
) -> Wrong | None:
    """An interrupt that is neither in the guest's RAM nor pending."""
    known = {*last.args.arrived, *last.args.pending}
    for record in fired:
        vector = record.args.vector
        if vector in known:
            continue
        there = views.get((Side.SOURCE, "after"))
        is_there = there is not None and vector in {*there.args.arrived, *there.args.pending}
        late = "; the source has it, which had sent its RAM" if is_there else ""
        return Wrong(
            f"{device}: vector {vector}, fired by the {record.side}'s device while it ran "
            f"({record.args.at}), did not reach the guest at the destination{late}",
            "interrupt-lost",
            [record, *([there] if there is not None and is_there else []), last],
        )
    return None


def _not_shown(
    device: str,
    fired: list[Record[Fired]],
    after: Record[GuestInterrupts],
    last: Record[GuestInterrupts],
) -> Wrong | None:
    """Interrupts that the source's QEMU took, that came once the function was unmasked at the
    destination, and were not shown as pending before.
    """
    if after is last or not after.args.control & _MASKED:
        return None
    taken = {record.args.vector for record in fired if record.side is Side.SOURCE}
    came = taken & set(last.args.arrived) & set(after.args.programmed)
    hidden = sorted(came - {*after.args.arrived, *after.args.pending})
    if not hidden:
        return None
    return Wrong(
        f"{device}: vectors {_listed(hidden)} were pending at the destination, and their pending "
        "bits read as 0",
        "pending-bits-not-shown",
        [after, last],
    )


def _listed(vectors: list[int]) -> str:
    return ", ".join(map(str, vectors))
