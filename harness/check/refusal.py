"""All rules about packets and channels that must be refused judge a **refusal** in the same way.

A refusal requires all of this: the destination fails the migration with an error; it answers its
monitor or exits with status 1; it is not ended by a signal, does not wait forever and does not
report success; the source's VM is not lost.  REF-11 judges whether the error names the device,
LIF-9 whether the source reports success.

Which requirements apply to a run follows from what was delivered (``Evidence.prediction``),
not from the plan of its faults.  If several things may be refused, the error's text shows
which one was.  The text is only a hint: an error with an unknown text is also a refusal, and only
a text that is known to be about something else is not.  On a damaged channel any bytes may be
taken for a packet, so that any text may be right.
"""

import re
from collections.abc import Iterable

from harness.check import hang, interruption, words
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.prediction_input import seen_end
from harness.check.rule import Rule, with_faults
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.process import Exited
from harness.history.records import Event, Kind, Record, Side
from harness.model.delivery import Reason
from harness.model.prediction import Outcome

_TEXTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("already filled", frozenset({"REF-1", "REF-7"})),
    ("not doing multifd transfer", frozenset({"REF-2"})),
    ("packet too short", frozenset({"REF-3", "REF-10"})),
    ("empty device state packet", frozenset({"REF-3", "REF-10"})),
    ("packet has unknown version", frozenset({"REF-4"})),
    ("packet index is invalid", frozenset({"REF-5"})),
    ("expected FLAG_DEV_CONFIG_STATE", frozenset({"REF-7", "REF-8"})),
    ("vfio_load_device_config_state\\(\\) failed", frozenset({"REF-7", "REF-8"})),
    ("[Ff]ailed load(ing)? device config space", frozenset({"REF-7", "REF-8"})),
    ("Unknown idstr .* or instance id", frozenset({"REF-9"})),
    ("unterminated multifd device state idstr", frozenset({"REF-9"})),
    ("received packet (magic|version)", frozenset({"REF-10"})),
    ("unknown channel magic", frozenset({"REF-10"})),
    ("received (uuid|channel id|id) ", frozenset({"REF-10"})),
    ("received SYNC device state packet", frozenset({"REF-10"})),
    ("would exceed the size max", frozenset({"REF-12"})),
    ("writing state buffer \\d+ failed", frozenset({"LIF-5"})),
)
"""Error texts that QEMU has had since 10.0 (the limit's: 10.1), and what they are about."""
_LOST = frozenset({"internal-error", "shutdown", "guest-panicked", "postmigrate"})
"""States of a VM (``RunState`` in qapi/run-state.json) that does not run on."""


def rule(requirement: str, title: str, about: str) -> Rule:
    """The rule of a requirement that is about nothing but a refusal."""
    made = Rule(
        id=requirement,
        title=title,
        about=about,
        skip_reason=with_faults,
        trusts=(Assumption.ENDINGS_KNOWN,),
    )

    @made.judges
    def judged(evidence: Evidence) -> Finding:
        return judge(evidence, made)

    @made.skips_run
    def skipped(evidence: Evidence) -> str:
        return skip_reason_of(evidence, requirement)

    return made


def reasons(evidence: Evidence, requirement: str) -> list[Reason]:
    """Why the destination may refuse what it was given, by one requirement."""
    possible = evidence.prediction.reasons if evidence.prediction else ()
    return [reason for reason in possible if reason.requirement == requirement]


def kinds(evidence: Evidence, requirement: str) -> str:
    """Which sorts of damage these are, as part of a shape: all of them, so that none hides one."""
    return "-and-".join(sorted({reason.kind for reason in reasons(evidence, requirement)}))


def skip_reason_of(evidence: Evidence, requirement: str) -> str:
    """Why a requirement does not apply to a run; "" if something of the kind was delivered, and
    the end may be its doing.
    """
    if evidence.prediction is None:
        return "no fault changed what was delivered"
    if not reasons(evidence, requirement):
        return "nothing that it concerns was delivered"
    allowed, seen = evidence.prediction.allowed, seen_end(evidence)
    if seen is Outcome.COMPLETED and seen in allowed:
        return "it was delivered too late to matter, or may be accepted"
    if seen is Outcome.REFUSED and (others := _told(evidence) - {requirement}):
        possible = {reason.requirement for reason in evidence.prediction.reasons}
        if requirement not in _told(evidence) and others & possible:
            return f"the destination refused something else: {', '.join(sorted(others))}"
    return ""


def judge(evidence: Evidence, rule: Rule) -> Finding:
    """Whether what ``rule`` is about was refused as it must be."""
    reason = reasons(evidence, rule.id)[0]
    damage = kinds(evidence, rule.id)
    packet = packet_of(evidence, reason)
    what = describe(reason)
    endings = evidence.endings
    for side in (Side.DESTINATION, Side.SOURCE):
        end = endings.crash(side)
        if end is not None and (side is Side.SOURCE or not _may_exit(end)):
            how = f"by signal {end.args.signal}" if end.args.signal else "by itself"
            last = [r for r, _ in endings.texts(side) if r.kind is Kind.PROCESS][-1:]
            signal = end.args.signal
            return rule.violated(
                f"{what}: the {side} QEMU ended {how}",
                packet,
                end,
                *last,
                shape=f"signal-{signal}-{damage}" if signal else f"{side}-exited",
            )
    seen = seen_end(evidence)
    if seen is Outcome.COMPLETED:
        return rule.violated(
            f"{what}: it must be refused, but the destination completed",
            packet,
            endings.last_status(Side.DESTINATION),
            shape=f"accepted-{damage}",
        )
    if seen is Outcome.WAITING:
        if evidence.prediction and seen in evidence.prediction.allowed:
            return rule.valid(f"{what}: the destination waits, and does not complete")
        if (cut := interruption.cut_off(evidence)) is not None:
            return rule.unknown(
                f"{what}: the source itself ended channel {cut.channel} inside a packet, and the "
                "destination waits for the rest of it (SET-9)"
            )
        cause = hang.cause(evidence, endings.deadline) if endings.deadline else None
        return rule.violated(
            f"{what}: it must be refused, but the destination had not failed by the deadline: "
            f"{cause.words if cause else 'the reason is not known'}",
            packet,
            endings.deadline,
            *(cause.records if cause else ()),
            shape=cause.shape if cause else f"not-refused-{damage}",
        )
    if seen is None:
        return rule.unknown("there is no record of how the destination ended")
    return _refused(evidence, rule, what, packet)


def _refused(evidence: Evidence, rule: Rule, what: str, packet: Record | None) -> Finding:
    hung = next(
        (record for record in evidence.endings.hung if record.side is Side.DESTINATION), None
    )
    if hung is not None:
        return rule.violated(
            f"{what}: the destination failed and hung", packet, hung, shape="failed-and-hung"
        )
    gone = lost(evidence)
    if gone is not None:
        return rule.violated(
            f"{what}: it was refused, but the source is lost", packet, gone, shape="source-lost"
        )
    said = errors(evidence).certain
    if not said:
        return rule.unknown(f"{what}: the destination failed without an error")
    if is_cut_off(evidence):
        return rule.unknown(f'{what}: "{said[0][1]}" may be about the end of the stream')
    told = _told(evidence)
    possible = (
        {reason.requirement for reason in evidence.prediction.reasons}
        if evidence.prediction
        else {}
    )
    if told and "REF-10" not in possible and not told & set(possible):
        record, text = next((r, t) for r, t in said if _about(t))
        return rule.violated(
            f'{what}: it was refused for something else: "{text}"',
            packet,
            record,
            shape="wrong-error",
        )
    return rule.valid(f"{what}: it was refused", said=said[0][1], is_text_known=bool(told))


def is_cut_off(evidence: Evidence) -> bool:
    """Whether all that the destination reported may be about the end of the stream: without a
    return path, the source closes it as soon as it has sent all but what is queued (SET-9).
    """
    said = errors(evidence).certain
    return (
        not evidence.scenario.return_path
        and not any(fault.closes_channels for fault in evidence.scenario.faults)
        and bool(said)
        and all(words.is_end_of_stream(text) and not _about(text) for _, text in said)
    )


def errors(evidence: Evidence) -> words.Errors:
    """What the destination reported of its failure: known texts, else all of its errors."""
    said = evidence.endings.errors_since(Side.DESTINATION, _came_ns(evidence))
    return words.Errors(*(
        [(record, text) for record, text in each if _about(text)] or each for each in said
    ))  # fmt: skip


def _came_ns(evidence: Evidence) -> int:
    """When the first packet that may be refused came to the relay.

    The destination may have it before ``packet_out`` is recorded.  Of a packet that a fault
    made there is the fault's record.
    """
    possible = evidence.prediction.reasons if evidence.prediction else ()
    packets = [packet for reason in possible if (packet := packet_of(evidence, reason))]
    begun = evidence.endings.commands(Side.SOURCE, "migrate")
    if not packets or len(packets) < len(possible):
        return begun[0].t_ns if begun else 0
    came: list[Record[wire.PacketIn] | Record[wire.Fault]] = [
        *evidence.of(wire.PacketIn),
        *evidence.of(wire.Fault),
    ]
    before = [
        record.t_ns
        for record in came
        for packet in packets
        if record.t_ns <= packet.t_ns
        and (record.device, record.args.idx) == (packet.device, packet.args.idx)
    ]
    return min(before, default=begun[0].t_ns if begun else 0)


def packet_of(evidence: Evidence, reason: Reason) -> Record[wire.Packet] | None:
    """The record of the packet that ``reason`` is about."""
    return evidence.delivered[reason.number] if reason.number >= 0 else None


def describe(reason: Reason) -> str:
    """What was delivered, as the beginning of a sentence."""
    of = f" of {reason.device}" if reason.device else ""
    on = f" on channel {reason.channel}" if reason.channel >= 0 else ""
    if reason.number < 0:
        return (f"{reason.device}: " if reason.device else "") + reason.words
    index = "without an index" if reason.idx is None else str(reason.idx)
    return f"packet {index}{of}{on}: {reason.words}"


def _told(evidence: Evidence) -> set[str]:
    """Requirements that the destination's errors are about."""
    return {each for _, text in errors(evidence).certain for each in _about(text)}


def _about(text: str) -> Iterable[str]:
    return next((about for words, about in _TEXTS if re.search(words, text)), frozenset())


def _may_exit(end: Record[Exited]) -> bool:
    """A destination may exit with status 1 once its load has failed."""
    return not end.args.signal and end.args.status == 1


def lost(evidence: Evidence) -> Event | None:
    """The answer that shows that the failed source's VM cannot run on."""
    if evidence.endings.status(Side.SOURCE) not in ("failed", "cancelled"):
        return None
    answers = evidence.endings.commands(Side.SOURCE, "query-status", "return")
    states = [record for record in answers if record.args["value"].get("status") in _LOST]
    return states[-1] if states else None
