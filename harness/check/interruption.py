"""Actions that may stop a migration, and whether the source's guest runs on after it.

Shared by the rules about runs that are cancelled, that lose a QEMU, or whose device fails.
"""

import errno
from collections.abc import Callable, Iterable
from typing import TypeGuard

import msgspec

from harness.check import guest, serial_ports
from harness.check.evidence import OVER, Evidence, Seen
from harness.check.planned import done
from harness.history import session, wire
from harness.history.device import Arc, DataFd, Read, Received, Reset, Write
from harness.history.process import Hung
from harness.history.records import Event, Kind, Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario.action_plan import PAUSES, Action, Execute, Kill, Suspend, Target, is_quit

CANCEL = "migrate_cancel"
_CHANGE = "vfio_vmstate_change"
_TRANSFERS = {
    Side.SOURCE: ("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY"),
    Side.DESTINATION: ("RESUMING",),
}
"""States of a device in which its state is moved."""
_INSIDE_PACKET = "ends inside a packet"
"""How ``wire.framing`` says so."""


def is_cancel(action: Action) -> bool:
    """Whether ``action`` cancels the migration; a destination has none that it could cancel."""
    return (
        isinstance(action, Execute) and action.effect == CANCEL and action.target is Target.SOURCE
    )


def ends_a_side(action: Action) -> TypeGuard[Kill | Execute]:
    """Whether ``action`` ends a QEMU for good."""
    return isinstance(action, Kill) or is_quit(action)


def is_asked(evidence: Evidence, kind: Callable[[Action], bool]) -> bool:
    """Whether an action of this kind was done, or was to be accepted."""
    return any(kind(action) for action, _ in done(evidence)) or any(
        kind(action) and getattr(action, "refused_with", None) is None
        for action in evidence.scenario.actions
    )


def was_ended(evidence: Evidence, side: Side) -> bool:
    """Whether the scenario has ended ``side`` for good."""
    return any(ends_a_side(act) and act.target == side.value for act, _ in done(evidence))


def may_stop(action: Action) -> bool:
    """Whether the migration need not complete once ``action`` was done.

    Whether it does depends on when that was: both ends are right.
    """
    return is_cancel(action) or ends_a_side(action)


def as_it_may_end(seen: Seen, expectation: Expectation) -> Expectation:
    """``expectation``, with another ending where an action came that may stop the migration, and
    it was stopped.
    """
    if (
        expectation.ending is Ending.DEVICE_ERROR
        and seen.endings.is_completed
        and _only_others_fail(seen)
    ):
        return msgspec.structs.replace(expectation, ending=Ending.COMPLETED)
    if (
        expectation.ending
        not in (
            Ending.COMPLETED,
            Ending.CONNECTION_REFUSED,
            Ending.HANDSHAKE_REFUSED,
            Ending.SIDES_DIFFER,
            Ending.DEVICE_REFUSED,
            Ending.REINIT_LATE,
            Ending.DEVICE_ERROR,
            Ending.REFUSED_IN_LOAD,
            Ending.WAITING,
            Ending.OPEN,
        )
        or seen.endings.is_completed
    ):
        return expectation
    if seen.of(session.NotConverged):
        return msgspec.structs.replace(expectation, ending=Ending.NOT_CONVERGED)
    if any(may_stop(action) for action, _ in done(seen)) or reset_in_transfer(seen):
        return msgspec.structs.replace(expectation, ending=Ending.STOPPED)
    return expectation


def _only_others_fail(seen: Seen) -> bool:
    """Whether no read, write or arc is planned to fail.  A migration may complete without a log of
    DMA, with all pages dirty (DMA-2), and without sizes (PRE-4); ORD-4 judges one that completes
    without interrupts.
    """
    return all(
        spec.read_error_at is None and spec.write_error_at is None for spec in seen.scenario.devices
    ) and not any(spec.refuses or spec.data_fds for spec in seen.scenario.emulated)


def reset_in_transfer(seen: Seen) -> tuple[str, list[Record]] | None:
    """That the guest's reset, on either side, took a device out of the state in which it was saved
    or loaded, and the records that show it; None if there was no such reset.

    The driver then disables the data_fd: each read or write fails with ENODEV, and nothing that
    is left of the state can be moved (mlx5vf_state_mutex_unlock(), mtty_state_mutex_unlock()).
    """
    return _reset(seen, Side.SOURCE) or _reset(seen, Side.DESTINATION)


def _reset(seen: Seen, side: Side) -> tuple[str, list[Record]] | None:
    guests = seen.qmp(side, "RESET")
    if not guests:  # a device that QEMU resets by itself is its own doing
        return None
    whose = "guest" if side is Side.SOURCE else "destination's guest"
    for device in seen.devices:
        state, arc = "", None
        for record in seen.sequence(Kind.DEVICE, side, device.id):
            match record.args:
                case Arc(errno=0, state=reached):
                    state, arc = reached, record
                case Reset():
                    after = next((event for event in guests if event.t_ns >= record.t_ns), None)
                    if after is not None and arc is not None and state in _TRANSFERS[side]:
                        words = f"the {whose} was reset while {device.id} was in {state}"
                        return words, [arc, record, after, *_noticed(seen, side, device.id, record)]
                    state = "RUNNING"
    return None


def _noticed(seen: Seen, side: Side, device: str, reset: Record) -> list[Record]:
    """How QEMU came upon the reset: a read or write that fails, or a second data_fd."""
    calls: list[Record[Read] | Record[Write]] = [
        *seen.of(Read, side, device),
        *seen.of(Write, side, device),
    ]
    refused = [record for record in calls if record.args.errno == errno.ENODEV]
    noticed: list[Record] = [*refused, *seen.of(DataFd, side, device)]
    return [record for record in noticed if record.t_ns > reset.t_ns][:1]


def is_paused(evidence: Evidence) -> bool:
    """Whether the scenario had the guest paused when the migration ended, or might have.

    Such a guest arrives paused, and stays so where the migration fails or is cancelled.  What
    was done to either side counts: a destination may be paused before it has loaded all, too.
    One that is suspended does not run either.
    """
    if is_suspended(evidence):
        return True
    last = dict.fromkeys(Target, False)
    last[Target.SOURCE] = _came_paused(evidence)
    for action, _ in done(evidence):
        if isinstance(action, Execute) and action.effect in PAUSES:
            last[action.target] = PAUSES[action.effect]
    return any(last.values())


def is_suspended(evidence: Evidence) -> bool:
    """Whether the scenario has let the guest enter S3."""
    return any(isinstance(action, Suspend) for action, _ in done(evidence))


def was_stopped_by_plan(evidence: Evidence) -> bool:
    """Whether the scenario has paused the guest at any time."""
    return _came_paused(evidence) or any(
        isinstance(action, Execute) and PAUSES.get(action.effect, False)
        for action, _ in done(evidence)
    )


def was_paused_at(evidence: Evidence, t_ns: int) -> bool | None:
    """Whether the scenario had the source's guest paused then, and not the switchover; None if
    that is not known.

    A command's answer may come late; QEMU traces why its guest has stopped (RunState).
    """
    if not was_stopped_by_plan(evidence):
        return False
    changes = [
        record
        for device in evidence.devices
        for record in evidence.trace(Side.SOURCE, _CHANGE, device.id)
        if record.t_ns < t_ns
    ]
    if not changes:
        return True if _came_paused(evidence) else None
    last = max(changes, key=lambda record: record.t_ns).args
    return last["reason"] == "paused" if not last["running"] else None


def switchover(evidence: Evidence) -> Record | None:
    """The source's stop.  A guest that the scenario has stopped before is not stopped again, or
    for the second time: there it is the status ``device``, which follows the stop.
    """
    if not was_stopped_by_plan(evidence):
        return next(iter(evidence.qmp(Side.SOURCE, "STOP")), None)
    statuses = evidence.endings.statuses[Side.SOURCE]
    return next((record for status, record in statuses if status == "device"), None)


def is_seen_paused(evidence: Evidence, side: Side) -> bool:
    """Whether ``side`` has answered that its guest does not run, as the scenario wants it."""
    answer = running(evidence, side)
    return is_paused(evidence) and answer is not None and not is_running(answer)


def _came_paused(evidence: Evidence) -> bool:
    before = evidence.of(session.Continued)
    return bool(before and before[0].args.is_paused)


def status_at(evidence: Evidence, side: Side, t_ns: int) -> str:
    """The migration's status that ``side`` had reported by then; empty if none."""
    told = [
        status
        for status, record in evidence.endings.statuses[side]
        if record.t_ns <= t_ns and record.name == "MIGRATION"
    ]
    return told[-1] if told else ""


def continued_after(evidence: Evidence) -> str:
    """Status with which the migration before this one ended; empty if there was none."""
    records = evidence.of(session.Continued)
    return records[0].args.after if records else ""


def running(evidence: Evidence, side: Side) -> Event | None:
    """The last answer of ``side`` to query-status; None if there was no query."""
    answers = evidence.endings.commands(side, "query-status", "return")
    return answers[-1] if answers else None


def silent(evidence: Evidence, side: Side) -> list[Record]:
    """Records that show that ``side`` left query-status unanswered; none if it answered each, or
    was ended by the scenario, whose end may be seen after the query.
    """
    if any(
        isinstance(action, Execute | Kill) and ends_a_side(action) and action.target == side.value
        for action, _ in done(evidence)
    ):
        return []
    asked = evidence.endings.commands(side, "query-status")
    answers = [
        evidence.endings.commands(side, "query-status", name) for name in ("return", "error")
    ]
    if len(asked) <= sum(map(len, answers)):
        return []
    return [asked[-1], *(record for record in evidence.endings.hung if record.side is side)]


def is_running(answer: Event) -> bool:
    """Whether an answer to query-status says that the guest runs."""
    return bool(answer.args["value"].get("running"))


def lost(evidence: Evidence) -> tuple[str, list[Record]] | None:
    """Why the source's guest does not run on with its devices, and the records that show it.

    None if it runs, as far as was seen, or is to be paused.  What its devices do after it was asked
    to quit belongs to its end.
    """
    if is_paused(evidence):
        return None
    answer = running(evidence, Side.SOURCE)
    if answer is not None and not is_running(answer):
        status = answer.args["value"].get("status", "")
        return f"the source's guest does not run: {status}", [answer]
    quit_ns = evidence.endings.quit_ns(Side.SOURCE)
    for device in evidence.devices:
        state, last = "RUNNING", list[Record]()
        for record in evidence.sequence(Kind.DEVICE, Side.SOURCE, device.id):
            if quit_ns is not None and record.t_ns >= quit_ns:
                continue
            match record.args:
                case Arc(errno=0, state=reached):
                    state, last = reached, [record]
                case Reset():
                    state, last = "RUNNING", [record]
        if state != "RUNNING":
            return f"{device.id} was left in {state}", last
    return None


def cut_off(evidence: Evidence) -> Record[wire.Damaged] | None:
    """That a source which completed has ended a channel inside a packet: what follows is its own
    doing (SET-9), and no answer to what a fault has changed.
    """
    if evidence.endings.status(Side.SOURCE) != "completed":
        return None
    cut = (r for r in evidence.of(wire.Damaged) if r.args.what.endswith(_INSIDE_PACKET))
    return next(cut, None)


def damaged(evidence: Evidence) -> tuple[str, list[Record]] | None:
    """Which destination device does not hold the source's bytes; None if all do."""
    for device in evidence.devices:
        if not serial_ports.is_open(evidence, device.id):
            if damage := guest.damaged_device(evidence, device.id, Side.DESTINATION):
                return f"the guest found BAR 0 of {device.id} {damage[0]}", [damage[1]]
            if not (
                serial_ports.ports_compared(evidence, device.id)
                or guest.tells_of(evidence, device.id)
            ):
                return f"what {device.id} got was not seen", []
            differs = serial_ports.difference(evidence, device.id)
            if differs is not None:
                return differs.sentence, list(differs[1:])
            continue
        received = evidence.of(Received, Side.DESTINATION, device.id)
        if not received:
            return f"what {device.id} got is not known", []
        args = received[-1].args
        if args.first_difference != -1 or args.bytes != args.expected_bytes:
            words = f"{device.id} holds {args.bytes} of {args.expected_bytes} bytes"
            return f"{words}, or others", [received[-1]]
    return None


def is_answering(records: Iterable[Record]) -> bool:
    """Whether the main loop of the QEMU that hangs answers, by the ``records`` of :func:`stuck`."""
    return all(
        record.args.main_loop_alive is not False
        for record in records
        if isinstance(record.args, Hung)
    )


def stuck(evidence: Evidence, side: Side) -> list[Record]:
    """Records that show that ``side`` did not come to an end; none if it did.

    A hang is recorded of both sides when one of them does not end: one that has ended, and whose
    main loop answers, is not the one.
    """
    hung = [record for record in evidence.endings.hung if record.side is side]
    if evidence.endings.status(side) in OVER and is_answering(hung):
        return []
    deadline: Record | None = evidence.endings.deadline
    return [record for record in (deadline, *hung) if record] if hung else []
