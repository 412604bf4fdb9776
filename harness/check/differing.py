"""What the sides make of a difference between them: shared by the rules about such scenarios.

Both sides must come to an end, and to the same one.  Neither may be lost, nor ended by a signal.
"""

from harness.check import hang, interruption, names, planned, words
from harness.check.evidence import PEERS, Evidence
from harness.check.refusal import lost
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.process import Hung
from harness.history.records import Kind, Record, Side
from harness.history.session import Deadline

HANGS = frozenset(
    {
        "source-has-more-channels",
        "source-has-fewer-channels",
        "multifd-at-the-source-only",
        "multifd-at-the-destination-only",
        "device-too-many",
    }
)
"""Differences that a side waits for by themselves: any other hang is one that a refusal meets."""


def not_the_same_end(rule: Rule, evidence: Evidence, what: str, kind: str) -> Finding | None:
    """What is wrong with how the two sides ended, or not known of it; None if both completed or
    both failed.  That the source reports completed, although the destination failed, is left to
    LIF-9.

    :param what: the difference, in words
    :param kind: a stable word for it, for shapes"""
    endings = evidence.endings
    for side in PEERS:
        crash = endings.crash(side)
        if crash is not None and crash.args.signal:
            said = [record for record, _ in endings.texts(side) if record.kind is Kind.PROCESS]
            return rule.violated(
                f"{what}: it must be refused, but the {side} QEMU ended by signal "
                f"{crash.args.signal}",
                *said[-2:],
                crash,
                shape=f"{side}-crashed-{kind}",
            )
    waited: Record[Deadline] | Record[Hung] | None = endings.deadline or next(
        iter(endings.hung), None
    )
    if waited is not None:
        if not endings.commands(Side.SOURCE, "migrate"):
            return rule.unknown(f"{what}: no migration was begun; {waited.args.waiting_for}")
        if excuse := planned.excuse(evidence):
            return rule.unknown(f"{what}: it did not end, but {excuse}")
        known = None if kind in HANGS else hang.cause(evidence, waited)
        statuses = [
            f"the {side}'s status is {endings.status(side) or 'not known'}" for side in PEERS
        ]
        return rule.violated(
            f"{what}: it must be refused within seconds, but {waited.args.waiting_for} did not "
            f"come: {known.words if known else ', '.join(statuses)}",
            waited,
            *endings.hung,
            *(known.records if known else ()),
            shape=known.shape if known else f"did-not-end-{kind}",
        )
    if endings.is_completed:
        return None
    gone = lost(evidence)
    if gone is not None:
        return rule.violated(
            f"{what}: it was refused, but the source is lost", gone, shape=f"source-lost-{kind}"
        )
    source, destination = (endings.status(side) for side in PEERS)
    if destination == "completed":
        return rule.violated(
            f"{what}: the destination completed, but the source's status is "
            f"{source or 'not known'}",
            *(endings.last_status(each) for each in PEERS),
            shape=f"destination-completed-{kind}",
        )
    gone_by_itself = endings.crash(Side.DESTINATION) is not None  # with a status: it may
    if source not in ("failed", "completed") or not (destination == "failed" or gone_by_itself):
        return rule.unknown(f"{what}: there is no record of how both sides ended")
    return None


def loaded(rule: Rule, evidence: Evidence, what: str, kind: str) -> Finding:
    """That it completed, if the devices hold what they were to get."""
    wrong = interruption.damaged(evidence)
    if wrong is None:
        return rule.valid(f"{what}: it completed, and all bytes arrived")
    if not wrong[1]:
        return rule.unknown(f"{what}: it completed; {wrong[0]}")
    return rule.violated(
        f"{what}: it completed, but {wrong[0]}", *wrong[1], shape=f"bytes-differ-{kind}"
    )


def says(evidence: Evidence) -> list[tuple[Record, str]]:
    """The errors of both sides that say more than that the other one has failed."""
    return [pair for pair in evidence.endings.texts(None) if pair[1]]


def is_named(evidence: Evidence, device: str, text: str) -> bool:
    """Whether ``text`` names the device: by its id, by its name in a trace of one of the QEMUs, or
    by its place on the PCI bus, as in ``0000:00:02.0/vfio``.
    """
    known = names.names(evidence, device, *PEERS)
    places = names.places(evidence, device)
    return words.is_named(text, known) or any(place in text for place in places)


def has_name(evidence: Evidence, device: str) -> bool:
    """Whether all names that QEMU may use for the device are known."""
    return bool(names.traced(evidence, device, *PEERS)) and bool(names.places(evidence, device))
