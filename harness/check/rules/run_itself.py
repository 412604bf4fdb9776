"""RUN: The run ends as a correct QEMU ends it, without a crash or a hang.

RUN catches the failures that leave no other requirement to judge.  If the migration must not
complete, the rules of the refusal judge how it is refused; RUN only requires that it failed, that
no QEMU was ended by a signal, and that the source was not lost.  A migration that waits for a
packet must not end by itself; LIF-1 judges whether the destination answers meanwhile.

If a guest runs, it must continue from where it was, with its memory unchanged.  ORD-1 judges
what it finds in a device at the destination.

If something was planned and did not happen, the run is UNKNOWN (``check.planned``): it is not the
one that was requested.  A run with a setting that the model does not know is also UNKNOWN, unless
a QEMU is ended by a signal or the guest's memory is damaged.
"""

from typing import Any

import msgspec

from harness.check import convergence, guest, hang, interruption, planned, sanitizer, set_up
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.prediction_input import seen_end
from harness.check.rule import Rule, not_judged
from harness.check.verdict import Finding
from harness.check.verdict import Outcome as Judged
from harness.history import session
from harness.history.device import UnknownIoctl
from harness.history.process import Signalled
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Ending
from harness.model.prediction import Outcome

RULE = Rule(
    id="RUN",
    title="The run ends as it must, without a crash or a hang",
    needs=(),
    trusts=(Assumption.COMPLETE, Assumption.ENDINGS_KNOWN),
    stands_alone=True,
)
_KILLED = 9
_NO_ZERO_COPY = "lock enough memory for using MSG_ZEROCOPY"
"""What QEMU says at the limit of memlock, and at ``net.core.optmem_max``."""
_NOTICED = 4
"""Records of a reset that QEMU came upon (interruption.reset_in_transfer)."""
_BEGINS = ("migrate", "migrate-incoming")
_NOT_STARTED = ("finish-migrate", "inmigrate", "paused", "postmigrate", "prelaunch")
"""States of a VM (``RunState`` in qapi/run-state.json) that no guest brings itself into."""
_EITHER = (Ending.SIDES_DIFFER, Ending.REINIT_LATE)
"""Endings of a migration that may fail or complete."""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    numbers = _numbers(evidence)
    reports, leaks_in_use = sanitizer.reports(evidence)
    numbers |= {"leaks_not_judged": leaks_in_use} if leaks_in_use else {}
    if reports:
        worst = reports[0]
        numbers["sanitizer_reports"] = len(reports)
        return RULE.violated(worst.sentence, *worst.lines, shape=sanitizer.SHAPE, **numbers)
    is_judged = evidence.expectation.ending is not Ending.NOT_JUDGED
    missed, hung = planned.missed(evidence), _hung(evidence) if is_judged else None
    excuse = planned.excuse(evidence) if hung is not None else ""
    violation = _crashed(evidence) or _memory_damaged(evidence)
    if is_judged:
        violation = (
            violation
            or _guest_damaged(evidence)
            or (None if excuse else hung)
            or _killed(evidence)
            or _not_resumed(evidence)
        )
    if violation is not None:
        sentence, shape, *proof = violation
        sentence = f"{sentence}; {missed}" if missed else sentence
        return RULE.violated(str(sentence), *_records(proof), shape=str(shape), **numbers)
    if not is_judged:
        seen = f"{missed}; {_seen(evidence)}" if missed else _seen(evidence)
        return RULE.unknown(f"{not_judged(evidence.expectation)}; {seen}", **numbers)
    if hung is not None:
        return RULE.unknown(f"{hung[0]}; {excuse}", **numbers)
    finding = _ended(evidence, numbers)
    if missed and finding.outcome is not Judged.VIOLATED:
        known = f"; {finding.sentence}" if finding.outcome is Judged.UNKNOWN else ""
        return RULE.unknown(f"{missed}{known}", **numbers)
    return finding


def _seen(evidence: Evidence) -> str:
    """How a run ended of which nothing is demanded."""
    endings = evidence.endings
    refused = set_up.refusal(evidence)
    if refused is not None:
        return set_up.words(refused)
    late = endings.deadline or next(iter(endings.hung), None)
    if late is not None:
        return f"{late.args.waiting_for} did not come"
    statuses = [f"the {side}'s status is {endings.status(side) or 'not known'}" for side in PEERS]
    said = next((cause for side in PEERS[::-1] if (cause := _cause(evidence, side))), None)
    has_failed = not endings.is_completed and said is not None
    return ", ".join(statuses) + (f': "{said[1]}"' if has_failed and said else "")


def _ended(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    if evidence.expectation.ending is Ending.LAUNCH_REFUSED:
        return _not_launched(evidence)
    if any(record is None for record in evidence.endings.launched.values()):
        return RULE.unknown("not both QEMUs were started", **numbers)
    if (finding := _refused_set_up(evidence, numbers)) is not None:
        return finding
    either = evidence.expectation.ending in _EITHER and evidence.endings.is_completed
    if either or evidence.expectation.ending is Ending.COMPLETED:
        return _completed(evidence, numbers)
    if evidence.expectation.ending is Ending.NOT_CONVERGED:
        return _not_converged(evidence, numbers)
    if evidence.expectation.ending is Ending.STOPPED:
        if (reset := interruption.reset_in_transfer(evidence)) is not None:
            return _after_reset(evidence, *reset, numbers)
        return RULE.valid("neither QEMU crashed; see LIF-3 or LIF-4", **numbers)
    if evidence.expectation.ending in (Ending.WAITING, Ending.OPEN):
        return _waiting(evidence, numbers)
    return _failed(evidence, numbers)


def _not_converged(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    """The source may go on with its pre-copy as long as too much is pending; PRE-5 has more."""
    over = convergence.not_converged(evidence)
    standing = convergence.standing(evidence, over) if over else None
    if standing is None or standing.pending <= standing.allowed:
        return RULE.unknown("the source was in pre-copy at the deadline", **numbers)
    words = f"did not converge: {standing.words}"
    return RULE.valid(f"pre-copy {words}", **{"pre-copy": words}, **numbers)


def _after_reset(
    evidence: Evidence, what: str, records: list[Record], numbers: dict[str, Any]
) -> Finding:
    """The rest of the state cannot be read any more: the migration fails, the source runs on."""
    status = evidence.endings.status(Side.SOURCE)
    if status not in ("failed", "cancelled"):
        return RULE.unknown(
            f"{what}, and the source's status is {status or 'not known'}", **numbers
        )
    lost = interruption.lost(evidence)
    if lost is not None:
        return RULE.violated(
            f"{what}, and {lost[0]}", *records, *lost[1], shape="lost-after-reset", **numbers
        )
    if evidence.endings.status(Side.DESTINATION) == "completed":
        return RULE.violated(
            f"{what}, and the source's status is {status}, but the destination completed",
            *records,
            evidence.endings.last_status(Side.DESTINATION),
            shape="completed-after-reset",
            **numbers,
        )
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{what}; whether the source runs on was not checked", **numbers)
    if len(records) < _NOTICED:
        return RULE.unknown(
            f"{what}; whether the migration {status} for that was not seen", **numbers
        )
    sentence = f"{what}, which ends its transfer: the migration {status}, and the source runs on"
    return RULE.valid(sentence, cause=what, **numbers)


def _waiting(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    """The destination must wait; or (OPEN) must not end in the way that it did."""
    seen = seen_end(evidence)
    if seen is None:
        return RULE.unknown("there is no record of how the destination ended", **numbers)
    if seen is Outcome.WAITING:
        return RULE.valid("the destination waited for what was not delivered", **numbers)
    must = " or ".join(sorted(evidence.prediction.allowed)) if evidence.prediction else ""
    cause = _cause(evidence, Side.DESTINATION)
    why = f": {cause[1]}" if cause and seen is Outcome.REFUSED else ""
    return RULE.violated(
        f"the destination must be {must}, but it is {seen}{why}",
        evidence.endings.last_status(Side.DESTINATION) or evidence.endings.ended[Side.DESTINATION],
        cause[0] if cause else None,
        shape=f"{seen}-instead-of-{'-or-'.join(sorted(evidence.prediction.allowed))}"
        if evidence.prediction
        else str(seen),
        **numbers,
    )


def _refused_set_up(evidence: Evidence, numbers: dict[str, Any]) -> Finding | None:
    """Settings that the model knows, and that QEMU must accept."""
    if evidence.expectation.ending in (Ending.REFUSED_AT_SETUP, Ending.BLOCKED):
        return None  # _refused() knows whether the words are right
    for side in PEERS:
        if (record := set_up.refused(evidence, side, *set_up.SETTINGS)) is not None:
            return RULE.violated(
                f"the settings must be accepted, but {set_up.words(record)}",
                record,
                shape="settings-refused",
                **numbers,
            )
        if (record := set_up.refused(evidence, side, set_up.CREDENTIALS)) is not None:
            return RULE.unknown(set_up.words(record), **numbers)
    return None


def _completed(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    endings = evidence.endings
    for side in PEERS:
        status, record = endings.status(side), endings.last_status(side)
        refusal = next((error for name in _BEGINS for error in endings.refusals(side, name)), None)
        if status in ("failed", "cancelled") or refusal is not None:
            cause, other = _cause(evidence, side), _other_cause(evidence, side)
            why = f": {cause[1]}" if cause else ""
            why += f"; the destination reports: {other[1]}" if other else ""
            if cause and _NO_ZERO_COPY in cause[1]:
                return RULE.unknown(f"the kernel refused to send without a copy{why}", **numbers)
            return RULE.violated(
                f"the migration must complete, but the {side} "
                f"{f'reports {status}' if status else 'refuses it'}{why}",
                record,
                refusal,
                cause[0] if cause else None,
                other[0] if other else None,
                shape=f"{side}-failed" if status else f"{side}-refused",
                **numbers,
            )
    if not endings.is_completed:
        return RULE.unknown("there is no record of how the migration ended", **numbers)
    if any(endings.ended[side] is None for side in PEERS):
        return RULE.unknown("there is no record of how both QEMUs ended", **numbers)
    is_paused = interruption.is_seen_paused(evidence, Side.DESTINATION)
    if evidence.scenario.guest is not None and not (
        is_paused or guest.rounds(evidence, Side.DESTINATION)
    ):
        return RULE.unknown("the guest reported nothing at the destination", **numbers)
    paused = "; the guest arrived paused" if is_paused else ""
    return RULE.valid(f"both sides completed, and both QEMUs quit when asked to{paused}", **numbers)


def _cause(evidence: Evidence, side: Side) -> tuple[Record, str] | None:
    """The error that explains best why ``side`` failed: its own, its monitor's before stderr."""
    own, all_said = evidence.endings.texts(side), evidence.endings.texts(None)
    for said in ([(r, t) for r, t in own if r.kind is Kind.QMP], own, all_said):
        if words := [(record, text) for record, text in said if text]:
            return words[-1]
    return None


def _other_cause(evidence: Evidence, side: Side) -> tuple[Record, str] | None:
    """The error of the destination's monitor, if the source failed too: perhaps for that."""
    if side is Side.DESTINATION:
        return None
    own = evidence.endings.texts(Side.DESTINATION)
    words = [(record, text) for record, text in own if text and record.kind is Kind.QMP]
    # "load of migration failed" adds nothing to the status.
    return words[-1] if words and not words[-1][1].startswith("load of ") else None


def _failed(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    endings, must = evidence.endings, evidence.expectation.ending
    if endings.status(Side.DESTINATION) == "completed" and must not in _EITHER:
        return RULE.violated(
            f"the migration must not complete ({must}), but the destination reports that it did",
            endings.last_status(Side.DESTINATION),
            shape="completed",
            **numbers,
        )
    if must in (Ending.REFUSED_AT_SETUP, Ending.BLOCKED):
        return _refused(evidence, numbers)
    said = [record for record, text in endings.texts(None) if text]
    failed = [side for side in PEERS if endings.status(side) in ("failed", "cancelled")]
    if not said and not failed:
        return RULE.unknown(
            f"the migration must not complete ({must}), and there is no record of how it ended",
            **numbers,
        )
    return RULE.valid("the migration did not complete, and neither QEMU was lost", **numbers)


def _refused(evidence: Evidence, numbers: dict[str, Any]) -> Finding:
    """The migration must be refused for a reason that the model knows."""
    must = evidence.expectation
    if (said := set_up.reason(evidence)) is not None:
        return RULE.valid(f"{must.ending}, with its reason", said=said[1], **numbers)
    cause = next((cause for side in PEERS if (cause := _cause(evidence, side))), None)
    if cause is None:
        return RULE.unknown(
            f"it must be refused ({must.reason}), and there is no record of how it ended",
            **numbers,
        )
    return RULE.unknown(
        f'it must be refused ({must.reason}), and was with another error: "{cause[1]}"', **numbers
    )


def _not_launched(evidence: Evidence) -> Finding:
    refused = next((r for r in evidence.endings.exited.values() if r and r.args.status > 0), None)
    if refused is None:
        return RULE.unknown("there is no record of a QEMU that refused to start")
    if set_up.reason(evidence) is None:
        said = [text for _, text in evidence.endings.texts(None) if text]
        return RULE.unknown(
            f"QEMU refused to start, with another error: {said[-1] if said else ''}"
        )
    return RULE.valid("QEMU refused to start", status=refused.args.status)


def _crashed(evidence: Evidence) -> tuple[object, ...] | None:
    """An end that was not requested; a destination may exit once its load has failed.

    Here and below: sentence, shape, and the records that show it.
    """
    ending = evidence.expectation.ending
    for side in PEERS:
        record = evidence.endings.crash(side)
        if record is None:
            continue
        signal, status = record.args.signal, record.args.status
        stderr = [r for r, _ in evidence.endings.texts(side) if r.kind is Kind.PROCESS]
        how = f"by signal {signal}" if signal else f"with exit status {status}"
        may_exit = ending in (Ending.LAUNCH_REFUSED, Ending.NOT_JUDGED) or (
            ending is not Ending.COMPLETED and side is Side.DESTINATION
        )
        if signal or not may_exit:
            shape = (
                f"{side}-signal-{signal}{_in_phase(evidence, side)}" if signal else f"{side}-exited"
            )
            return f"the {side} QEMU ended {how}, unexpectedly", shape, record, *stderr[-2:]
    for side in PEERS:
        if (died := evidence.endings.died_quitting(side)) is not None:
            number = died.args.signal
            what = f"the {side} QEMU ended by signal {number} as it quit"
            return what, f"{side}-signal-{number}-at-quit", died
    return None


def _in_phase(evidence: Evidence, side: Side) -> str:
    """The last status of ``side`` before it failed, as a part of a shape; empty if it had none."""
    statuses = [
        status for status, _ in evidence.endings.statuses[side] if not status.startswith("fail")
    ]
    return f"-in-{statuses[-1]}" if statuses else ""


def _guest_damaged(evidence: Evidence) -> tuple[object, ...] | None:
    """The guest found damage, could not go on, or was in one round twice."""
    if damaged := _memory_damaged(evidence):
        return damaged
    for device in evidence.scenario.devices:
        if damage := guest.damaged_device(evidence, device.id, Side.SOURCE):
            said, record = damage
            what = f"the guest found BAR 0 of {device.id} damaged at the source: {said}"
            return what, "bar-damaged", record
    if last := guest.gave_up(evidence):
        return f"the guest gave up at the {last.side}: {last.args.why}", "guest-gave-up", last
    if twice := guest.went_back(evidence):
        ours, theirs = (record.args.round for record in twice)
        return (
            f"the guest came to round {ours} at the source, and to round {theirs} at the "
            "destination after it: it went back, or runs twice",
            "guest-runs-twice",
            *twice,
        )
    return None


def _memory_damaged(evidence: Evidence) -> tuple[object, ...] | None:
    damage = guest.damaged_memory(evidence)
    if damage is None:
        return None
    said, record = damage
    what = f"the guest found its memory damaged at the {record.side}: {said}"
    return what, "memory-damaged", record


def _hung(evidence: Evidence) -> tuple[object, ...] | None:
    endings = evidence.endings
    if evidence.expectation.ending in (Ending.STOPPED, Ending.CONNECTION_REFUSED):
        return None  # LIF-3, LIF-4 and LIF-14 know who has to end
    if evidence.expectation.ending is Ending.WAITING:
        return _source_hung(evidence)
    if endings.deadline is not None:
        waited = _waited(endings.deadline)
        still = "".join(f"; {hang.words(each.args)}" for each in evidence.of(session.Standstill))
        shape = hang.cause(evidence, endings.deadline)
        if shape is not None:
            what = f"{waited}: {shape.words}{still}"
            return what, shape.shape, *shape.records, endings.deadline, *endings.hung
        return f"{waited}{still}", "did-not-end", endings.deadline, *endings.hung
    if endings.hung:
        record = endings.hung[0]
        waited = f"the {record.side} QEMU hung: {record.args.waiting_for}"
        shape = hang.cause(evidence, record)
        if shape is not None:
            return f"{waited}: {shape.words}", shape.shape, *shape.records, record
        return waited, f"{record.side}-hung", record
    return None


def _waited(deadline: Record[session.Deadline]) -> str:
    """For what, and for how long, in words."""
    args = deadline.args
    waiting_for, waited_s = args.waiting_for, args.waited_s
    if waited_s is None:
        return waiting_for
    if isinstance(waited_s, msgspec.UnsetType):
        waited_s = args.deadline_s
    limit = f" within {waited_s:g} s" if waited_s is not None else ""
    return f"{waiting_for} did not come{limit}"


def _not_resumed(evidence: Evidence) -> tuple[object, ...] | None:
    """The destination has completed, and does not run a guest that was not paused."""
    answer = interruption.running(evidence, Side.DESTINATION)
    if (
        not evidence.endings.is_completed
        or answer is None
        or answer.args["value"].get("status") not in _NOT_STARTED
        or interruption.is_paused(evidence)
        or evidence.of(session.Replayed)  # of a source that may be paused
    ):
        return None
    status = answer.args["value"]["status"]
    what = f"both sides completed, but the destination's guest does not run: {status}"
    return what, "guest-not-resumed", answer


def _source_hung(evidence: Evidence) -> tuple[object, ...] | None:
    """Where the destination waits, the source's monitor must answer all the same."""
    for record in evidence.endings.hung:
        if record.side is Side.SOURCE and record.args.monitor_alive is False:
            return "the source QEMU hung while the destination waited", "source-hung", record
    return None


def _killed(evidence: Evidence) -> tuple[object, ...] | None:
    """Asked to quit by its monitor, and ended by SIGKILL only.

    One that the scenario has killed before may be asked all the same: its end is seen late.
    """
    is_waiting = evidence.expectation.ending is Ending.WAITING  # its monitor is LIF-1's
    for side in PEERS[:1] if is_waiting else PEERS:
        record = evidence.endings.exited[side]
        asked = evidence.endings.commands(side, "quit")
        signals = evidence.of(Signalled, side)
        if (
            record is not None
            and asked
            and record.args.signal == _KILLED
            and not any(signal.t_ns < asked[0].t_ns for signal in signals)
        ):
            what = f"the {side} QEMU did not quit when asked to; SIGKILL ended it"
            stuck = [each for each in evidence.endings.hung if each.side is side]
            cause = hang.cause(evidence, stuck[0]) if stuck else None
            if cause is not None and hang.side_of(cause) is side:
                return f"{what}: {cause.words}", cause.shape, *cause.records, asked[0], record
            return what, f"{side}-did-not-quit", asked[0], record
    return None


def _numbers(evidence: Evidence) -> dict[str, Any]:
    unreadable = sum(len(evidence.trace(side, "?")) for side in PEERS)
    ioctls = sorted(
        {
            record.args.number
            for side in PEERS
            for device in ("", *(device.id for device in evidence.scenario.devices))
            for record in evidence.of(UnknownIoctl, side, device)
        }
    )
    rounds = (
        {}
        if evidence.scenario.guest is None
        else {"guest_rounds_at_the_destination": len(guest.rounds(evidence, Side.DESTINATION))}
    )
    return {
        **rounds,
        "records": evidence.total,
        "unknown_trace_lines": unreadable,
        "unknown_ioctls": ", ".join(ioctls),
    }


def _records(found_evidence: list[object]) -> list[Record]:
    return [record for record in found_evidence if isinstance(record, Record)]
