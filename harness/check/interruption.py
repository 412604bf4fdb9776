"""Actions that may stop a migration, and whether the source's guest runs on after it.

Shared by the rules about runs that are cancelled, that lose a QEMU, or whose device fails.
"""

import errno
from collections.abc import Callable
from typing import TypeGuard

import msgspec

from harness.check import guest, shown
from harness.check.endings import OVER
from harness.check.planned import done
from harness.check.run import CheckedRun
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Ending
from harness.scenario.action_plan import PAUSES, Action, Execute, Kill, Target, is_quit

CANCEL = "migrate_cancel"
_TRANSFERS = {
    Side.SOURCE: ("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY"),
    Side.DESTINATION: ("RESUMING",),
}
"""States of a device in which its state is moved."""


def is_cancel(action: Action) -> bool:
    """Whether ``action`` cancels the migration; a destination has none that it could cancel."""
    return (
        isinstance(action, Execute) and action.effect == CANCEL and action.target is Target.SOURCE
    )


def ends_a_side(action: Action) -> TypeGuard[Kill | Execute]:
    """Whether ``action`` ends a QEMU for good."""
    return isinstance(action, Kill) or is_quit(action)


def is_asked(run: CheckedRun, kind: Callable[[Action], bool]) -> bool:
    """Whether an action of this kind was done, or was to be accepted."""
    return any(kind(action) for action, _ in done(run)) or any(
        kind(action) and getattr(action, "refused_with", None) is None
        for action in run.scenario.actions
    )


def was_ended(run: CheckedRun, side: Side) -> bool:
    """Whether the scenario has ended ``side`` for good."""
    return any(ends_a_side(act) and act.target == side.value for act, _ in done(run))


def may_stop(action: Action) -> bool:
    """Whether the migration need not complete once ``action`` was done.

    Whether it does depends on when that was: both ends are right.
    """
    return is_cancel(action) or ends_a_side(action)


def allow_stop(run: CheckedRun) -> None:
    """Let ``run`` end as it may where an action came that may stop it, and it was stopped."""
    ending = run.expectation.ending
    if ending not in (
        Ending.COMPLETED,
        Ending.HANDSHAKE_REFUSED,
        Ending.DEVICE_ERROR,
        Ending.REFUSED_IN_LOAD,
        Ending.WAITING,
        Ending.OPEN,
    ):
        return
    if run.endings.is_completed:
        return
    if run.named(Kind.SESSION, Side.HARNESS, "not_converged"):
        run.expectation = msgspec.structs.replace(run.expectation, ending=Ending.NOT_CONVERGED)
    elif any(may_stop(action) for action, _ in done(run)) or reset_in_transfer(run):
        run.expectation = msgspec.structs.replace(run.expectation, ending=Ending.STOPPED)


def reset_in_transfer(run: CheckedRun) -> tuple[str, list[Record]] | None:
    """That the guest's reset, on either side, took a device out of the state in which it was saved
    or loaded, and the records that show it; None if there was no such reset.

    The driver then disables the data_fd: each read or write fails with ENODEV, and nothing that
    is left of the state can be moved (mlx5vf_state_mutex_unlock(), mtty_state_mutex_unlock()).
    """
    return _reset(run, Side.SOURCE) or _reset(run, Side.DESTINATION)


def _reset(run: CheckedRun, side: Side) -> tuple[str, list[Record]] | None:
    guests = run.named(Kind.QMP, side, "RESET")
    if not guests:  # a device that QEMU resets by itself is its own doing
        return None
    whose = "guest" if side is Side.SOURCE else "destination's guest"
    for device in run.devices:
        state, arc = "", None
        for record in run.sequence(Kind.DEVICE, side, device.id):
            if record.name == "arc" and not record.args["errno"]:
                state, arc = record.args["state"], record
            elif record.name == "reset":
                after = next((event for event in guests if event.t_ns >= record.t_ns), None)
                if after is not None and arc is not None and state in _TRANSFERS[side]:
                    words = f"the {whose} was reset while {device.id} was in {state}"
                    return words, [arc, record, after, *_noticed(run, side, device.id, record)]
                state = "RUNNING"
    return None


def _noticed(run: CheckedRun, side: Side, device: str, reset: Record) -> list[Record]:
    """How QEMU came upon the reset: a read or write that fails, or a second data_fd."""
    refused = [
        record
        for name in ("read", "write")
        for record in run.seen(device, name, side)
        if record.args["errno"] == errno.ENODEV
    ]
    again = run.seen(device, "data_fd", side)
    return [record for record in (*refused, *again) if record.t_ns > reset.t_ns][:1]


def is_paused(run: CheckedRun) -> bool:
    """Whether the scenario had the guest paused when the migration ended, or might have.

    Such a guest arrives paused, and stays so where the migration fails or is cancelled.  What
    was done to either side counts: a destination may be paused before it has loaded all, too.
    """
    last = dict.fromkeys(Target, False)
    last[Target.SOURCE] = _came_paused(run)
    for action, _ in done(run):
        if isinstance(action, Execute) and action.effect in PAUSES:
            last[action.target] = PAUSES[action.effect]
    return any(last.values())


def was_stopped_by_plan(run: CheckedRun) -> bool:
    """Whether the scenario has paused the guest at any time."""
    return _came_paused(run) or any(
        isinstance(action, Execute) and PAUSES.get(action.effect, False) for action, _ in done(run)
    )


def is_seen_paused(run: CheckedRun, side: Side) -> bool:
    """Whether ``side`` has answered that its guest does not run, as the scenario wants it."""
    answer = running(run, side)
    return is_paused(run) and answer is not None and not is_running(answer)


def _came_paused(run: CheckedRun) -> bool:
    before = run.named(Kind.SESSION, Side.HARNESS, "continued")
    return bool(before and before[0].args.get("is_paused"))


def status_at(run: CheckedRun, side: Side, t_ns: int) -> str:
    """The migration's status that ``side`` had told by then; "": none."""
    told = [
        status
        for status, record in run.endings.statuses[side]
        if record.t_ns <= t_ns and record.name == "MIGRATION"
    ]
    return told[-1] if told else ""


def continued_after(run: CheckedRun) -> str:
    """Status with which the migration before this one ended; "": there was none."""
    records = run.named(Kind.SESSION, Side.HARNESS, "continued")
    return str(records[0].args["after"]) if records else ""


def running(run: CheckedRun, side: Side) -> Record | None:
    """The last answer of ``side`` to query-status; None: it was not asked."""
    answers = run.endings.commands(side, "query-status", "return")
    return answers[-1] if answers else None


def silent(run: CheckedRun, side: Side) -> list[Record]:
    """Records that tell that ``side`` left query-status unanswered; none: it answered each, or
    was ended by the scenario, and its end may be seen after it was asked.
    """
    if any(
        isinstance(action, Execute | Kill) and ends_a_side(action) and action.target == side.value
        for action, _ in done(run)
    ):
        return []
    asked = run.endings.commands(side, "query-status")
    answers = [run.endings.commands(side, "query-status", name) for name in ("return", "error")]
    if len(asked) <= sum(map(len, answers)):
        return []
    return [asked[-1], *(record for record in run.endings.hung if record.side is side)]


def is_running(answer: Record) -> bool:
    """Whether an answer to query-status says that the guest runs."""
    return bool(answer.args["value"].get("running"))


def lost(run: CheckedRun) -> tuple[str, list[Record]] | None:
    """Why the source's guest does not run on with its devices, and the records that tell so.

    None: it runs, as far as was seen, or is to be paused.  What its devices do after it was told
    to quit is the quitting's.
    """
    if is_paused(run):
        return None
    answer = running(run, Side.SOURCE)
    if answer is not None and not is_running(answer):
        status = answer.args["value"].get("status", "")
        return f"the source's guest does not run: {status}", [answer]
    quit_ns = run.endings.quit_ns(Side.SOURCE)
    for device in run.devices:
        moves = [
            record
            for record in run.sequence(Kind.DEVICE, Side.SOURCE, device.id)
            if record.name == "reset" or (record.name == "arc" and not record.args["errno"])
        ]
        last = [record for record in moves if quit_ns is None or record.t_ns < quit_ns][-1:]
        if last and last[0].args.get("state", "RUNNING") != "RUNNING":
            return f"{device.id} was left in {last[0].args['state']}", last
    return None


def damaged(run: CheckedRun) -> tuple[str, list[Record]] | None:
    """Which destination device does not hold the source's bytes; None: all do."""
    for device in run.devices:
        if not shown.is_open(run, device.id):
            if damage := guest.damaged_device(run, device.id, Side.DESTINATION):
                return f"the guest found BAR 0 of {device.id} {damage[0]}", [damage[1]]
            if not (shown.ports_compared(run, device.id) or guest.tells_of(run, device.id)):
                return f"{device.id} did not show what it got", []
            differs = shown.difference(run, device.id)
            if differs is not None:
                return differs.sentence, list(differs[1:])
            continue
        received = run.seen(device.id, "received", Side.DESTINATION)
        if not received:
            return f"{device.id} did not tell what it got", []
        args = received[-1].args
        if args["first_difference"] != -1 or args["bytes"] != args["expected_bytes"]:
            words = f"{device.id} holds {args['bytes']} of {args['expected_bytes']} bytes"
            return f"{words}, or others", [received[-1]]
    return None


def stuck(run: CheckedRun, side: Side) -> list[Record]:
    """Records that show that ``side`` did not come to an end; none if it did.

    A hang is recorded of both sides when one of them does not end: one that has ended, and whose
    main loop answers, is not the one.
    """
    hung = [record for record in run.endings.hung if record.side is side]
    is_answering = all(record.args.get("main_loop_alive", True) for record in hung)
    if run.endings.status(side) in OVER and is_answering:
        return []
    return [record for record in (run.endings.deadline, *hung) if record] if hung else []
