"""Whether what the scenario plans was seen to happen: actions, lies, errors, faults, ``then``.

A run whose plan did not happen is not the one that was requested: RUN is UNKNOWN then, and names
what did not.  This could be wrong in two ways.  It could miss something: an action without its
record ``action_ended`` (histories that are older than that) counts as done once its moment had
come.  It could report what is no loss: a fault that still holds a packet when a refusal has ended
the run, or for a time that is longer than the run, has done what it was planned for.
"""

import errno
import re
from collections.abc import Iterable, Iterator

from harness.check import dma, hang
from harness.check.evidence import Evidence, Seen
from harness.history import session
from harness.history.device import (
    Arc,
    Armed,
    DataFdError,
    Fired,
    Lie,
    PrecopyChanged,
    PrecopyInfoV2,
    Read,
    ServerFault,
    SizeAnswer,
    Write,
)
from harness.history.records import Record, Side
from harness.model.expectation import Ending
from harness.scenario import fault_plan
from harness.scenario.action_plan import Action, Execute, Storm, is_quit
from harness.scenario.misreports import Query

_WAITED_FOR = (Ending.COMPLETED, Ending.WAITING, Ending.OPEN)
"""Endings that a moment which never came may have changed."""
_REACHES_DEVICES = (
    Ending.COMPLETED,
    Ending.STOPPED,
    Ending.NOT_CONVERGED,
)
"""Endings of a migration that gets to its devices; see LIF-5 for one that a device ends."""


def done(seen: Seen) -> list[tuple[Action, Record[session.Action]]]:
    """The scenario's actions that QEMU has accepted, or has not answered, each with the record
    of its beginning.
    """
    return [
        (seen.scenario.actions[record.args.position], record)
        for record in _begun(seen)
        if _was_done(seen, record)
    ]


def was_taken(seen: Seen, storm: Storm, begun: Record[session.Action]) -> bool:
    """Whether QEMU has accepted a command of ``storm``; so it is where no record says otherwise."""
    result = _result(seen, begun.args.position)
    return result is None or bool(set(storm.commands) - set(result.args.refused or ()))


def missed(evidence: Evidence) -> str:
    """What was planned and did not happen, in words; "" if all of it did."""
    return _named(
        *_kept_from_an_end(evidence),
        ("pages that a log leaves out arrived all the same", _omitted(evidence)),
        (
            "errors of the plan did not come",
            [
                *_errors(evidence),
                *_log_errors(evidence),
                *_refused_arcs(evidence),
                *_not_asked(evidence),
                *_wrong_data_fds(evidence),
                *_server_faults(evidence),
            ],
        ),
        ("misreports of the plan did not come", _misreports(evidence)),
        ("changes of pre-copy did not come", _changes(evidence)),
        ("interrupts of the plan did not come", _interrupts(evidence)),
        ("the second migration was not made", _not_continued(evidence)),
    )


def _kept_from_an_end(evidence: Evidence) -> tuple[tuple[str, Iterable[str]], ...]:
    """What may have kept the migration from its end."""
    return (
        ("actions of the plan were not done as planned", _actions(evidence)),
        ("lies of the plan changed nothing", _lies(evidence)),
        ("faults of the plan changed nothing", _idle_faults(evidence)),
        ("faults of the plan waited for an event that did not come", _holds(evidence)),
    )


def _named(*kinds: tuple[str, Iterable[str]]) -> str:
    named = ((what, "; ".join(each)) for what, each in kinds)
    return "; ".join(f"{what}: {each}" for what, each in named if each)


def excuse(evidence: Evidence) -> str:
    """Why a migration that did not end by the deadline is not a fault of QEMU; "" if it is one.

    QEMU waits for what the relay holds back.  State that still moves is slow, and does not hang.
    And if an action was to bring the end, and was not done, only a QEMU that is known to be stuck
    is to blame.
    """
    deadline = evidence.endings.deadline
    if deadline is None:
        return ""
    if kept := kept_back(evidence):
        return f"the relay still held something back: {'; '.join(kept)}"
    if moved := hang.goes_on(evidence, deadline):
        return moved
    shape = hang.cause(evidence, deadline)
    if shape is None and (busy := hang.held_up(evidence, deadline)):
        return busy
    is_stuck = shape is not None or any(
        record.args.main_loop_alive is False for record in evidence.endings.hung
    )
    return "" if is_stuck else _named(*_kept_from_an_end(evidence))


def _begun(seen: Seen) -> list[Record[session.Action]]:
    return list(seen.of(session.Action))


def _result(seen: Seen, position: int) -> Record[session.ActionEnded] | None:
    ended = seen.of(session.ActionEnded)
    return next((record for record in ended if record.args.position == position), None)


def _was_done(seen: Seen, begun: Record[session.Action]) -> bool:
    position = begun.args.position
    result = _result(seen, position)
    return (
        result is None
        or result.args.how in ("done", "unanswered")
        or _has_quit(seen, seen.scenario.actions[position], begun)
    )


def _has_quit(seen: Seen, action: Action, begun: Record[session.Action]) -> bool:
    """Whether ``action`` is a quit whose answer was lost because QEMU ended on it."""
    if not isinstance(action, Execute) or not is_quit(action):
        return False
    end = seen.endings.exited[Side(action.target)]
    return end is not None and end.t_ns > begun.t_ns


def _actions(evidence: Evidence) -> list[str]:
    begun = {record.args.position: record for record in _begun(evidence)}
    was_started = bool(begun) or bool(evidence.of(session.Actions))
    found = []
    for position, action in enumerate(evidence.scenario.actions):
        if not was_started:
            why = "it was never started"
        elif position not in begun:
            why = "its moment did not come"
        else:
            why = _wrong(evidence, action, begun[position])
        if why:
            found.append(f"{action.describe()}: {why}")
    return found


def _wrong(evidence: Evidence, action: Action, begun: Record[session.Action]) -> str:
    """What went otherwise with an action that was begun; "" if it went as planned."""
    result = _result(evidence, begun.args.position)
    if result is None:
        return ""
    how, words = result.args.how, f"{result.args.error_class}: {result.args.desc}"
    wanted = action.refused_with if isinstance(action, Execute) else None
    if how == "refused":
        if wanted is not None and re.search(wanted, words):
            return ""
        other = "" if wanted is None else " with another error than planned"
        return f"QEMU refused it{other}: {words}"
    if how == "unanswered":
        return "QEMU did not answer"
    if how == "lost":
        return "" if _has_quit(evidence, action, begun) else "there was no QEMU to take it"
    if wanted is not None:
        return "QEMU accepted it"
    if isinstance(action, Storm):
        if not result.args.sent:
            return "no command was sent"
        refused = (result.args.refused or {}).items()
        return ", ".join(f"QEMU refused {command}: {why}" for command, why in refused)
    return ""


def _lies(evidence: Evidence) -> Iterator[str]:
    for device in evidence.scenario.emulated:
        if device.load.lie is None:
            continue
        lies = evidence.of(Lie, Side.DESTINATION, device.id)
        if not any(record.args.changed for record in lies):
            why = "there was no such buffer to change" if lies else "its state was never loaded"
            yield f"{device.id}: {device.load.lie} of buffer {device.load.lie_at}: {why}"


def _omitted(evidence: Evidence) -> Iterator[str]:
    """Devices that leave pages out of a log, of which no page is missing."""
    if evidence.expectation.ending is not Ending.COMPLETED:
        return
    for device in evidence.scenario.emulated:
        if not device.dma.omits:
            continue
        found = dma.compare(evidence, device)
        if found.why_not or not found.lost:
            yield f"{device.id}: {found.why_not or 'all pages are there'}"


def _log_errors(evidence: Evidence) -> Iterator[str]:
    """Calls about a log that were to fail and did not."""
    if evidence.expectation.ending not in (*_REACHES_DEVICES, Ending.DEVICE_ERROR):
        return
    for device in evidence.scenario.emulated:
        failed = {dma.call_of(each) for each in dma.failures(evidence, device.id)}
        plan = (
            ("start", device.dma.start_errno),
            ("report", device.dma.report_errno),
            ("stop", device.dma.stop_errno),
        )
        is_first = not failed - {"stop"}  # one that fails ends the migration
        for call, number in plan:
            if number and call not in failed and (is_first or call == "stop"):
                yield f"{device.id}: no {call} of its log failed"


def _not_asked(evidence: Evidence) -> Iterator[str]:
    """Errors of MIG_PRECOPY_INFOv2 that no QEMU met: those before 11.1 do not ask."""
    for device in evidence.scenario.emulated:
        is_error = device.precopy_info_v2 not in (0, errno.ENOTTY)
        if is_error and not evidence.of(PrecopyInfoV2, device=device.id):
            yield f"{device.id}: no QEMU asked for MIG_PRECOPY_INFOv2"


def _changes(evidence: Evidence) -> Iterator[str]:
    """Changes of what a device has for pre-copy that never were due."""
    if evidence.expectation.ending not in (*_REACHES_DEVICES, Ending.REINIT_LATE):
        return
    for device in evidence.scenario.emulated:
        records = evidence.of(PrecopyChanged, Side.SOURCE, device.id)
        came = {record.args.number for record in records}
        for number, _ in enumerate(device.precopy_changes):
            if number not in came:
                yield f"{device.id}: precopy_changes[{number}]"


def _refused_arcs(evidence: Evidence) -> Iterator[str]:
    """Arcs that were to be refused, of which none was."""
    if evidence.expectation.ending not in (*_REACHES_DEVICES, Ending.DEVICE_ERROR):
        return
    if not any(record.args.errno for record in evidence.of(Arc)):
        for device in evidence.scenario.emulated:
            for arc in device.refuses:
                yield f"{device.id}: the {arc.side} did not ask for {arc.to}"


def _misreports(evidence: Evidence) -> Iterator[str]:
    """Misreports that were to come and did not: the source did not ask so often."""
    if evidence.expectation.ending not in (*_REACHES_DEVICES, Ending.DEVICE_ERROR):
        return
    for device in evidence.scenario.emulated:
        answers = evidence.of(SizeAnswer, Side.SOURCE, device.id)
        given = {(record.args.query, record.args.number) for record in answers}
        for misreport in device.misreports:
            if not any(misreport.is_about(Query(query), number) for query, number in given):
                yield f"{device.id}: {misreport.query} was not asked {misreport.first} times"


def _interrupts(evidence: Evidence) -> Iterator[str]:
    """Interrupts that no device has fired; and vectors that no device has refused to arm."""
    for device in evidence.scenario.emulated:
        if evidence.expectation.ending is Ending.COMPLETED:
            fired = {(r.args.vector, r.args.at) for r in evidence.of(Fired, device=device.id)}
            for each in device.interrupts.fires:
                if (each.vector, each.at.value) not in fired:
                    yield f"{device.id}: vector {each.vector} was not fired ({each.at})"
        reaches_it = evidence.expectation.ending in (Ending.COMPLETED, Ending.DEVICE_ERROR)
        if device.interrupts.arm_errno and reaches_it:
            calls = evidence.of(Armed, Side.DESTINATION, device.id)
            if not any(record.args.errno for record in calls):
                yield f"{device.id}: the destination did not arm its vectors"


def _wrong_data_fds(evidence: Evidence) -> Iterator[str]:
    """Arcs that were to give the wrong number of data_fds, of which none was asked for."""
    if evidence.expectation.ending not in (*_REACHES_DEVICES, Ending.DEVICE_ERROR):
        return
    if not evidence.of(DataFdError):
        for device in evidence.scenario.emulated:
            for wrong in device.data_fds:
                yield f"{device.id}: the {wrong.side} did not ask for {wrong.to}"


def _errors(evidence: Evidence) -> list[str]:
    """Device errors that never came, unless another one ended the migration before."""
    if evidence.expectation.ending not in _REACHES_DEVICES:
        return []
    found = []
    for device in evidence.scenario.devices:
        reads = evidence.of(Read, Side.SOURCE, device.id)
        writes = evidence.of(Write, Side.DESTINATION, device.id)
        if any(record.args.errno == errno.EIO for calls in (reads, writes) for record in calls):
            return []
        for call, at in (("read", device.read_error_at), ("write", device.write_error_at)):
            if at is not None:
                found.append(f"{device.id}: no {call} came to byte {at}")
    return found


def _server_faults(evidence: Evidence) -> Iterator[str]:
    """What the servers of devices were to do wrong and did not."""
    if evidence.expectation.ending not in _REACHES_DEVICES:
        return
    for device in evidence.scenario.devices:
        seen = {
            (record.side.value, record.args.command, record.args.nth, record.args.does)
            for record in evidence.of(ServerFault, device=device.id)
        }
        for fault in device.planned_server_faults:
            if (fault.side, fault.command, fault.nth, fault.does.value) not in seen:
                yield f"{device.id}: the {fault.side}'s server got no {fault.command} {fault.nth}"


def _not_continued(evidence: Evidence) -> list[str]:
    """A second migration that no QEMU was left to make, but for one that hangs."""
    records = evidence.of(session.NotContinued)
    return [
        f"{record.args.scenario}: no QEMU runs the guest, or its migration goes on"
        for record in records
        if not evidence.endings.hung
    ]


def _idle_faults(evidence: Evidence) -> list[str]:
    """Faults of the plan that never changed anything, in any of the run's migrations."""
    fired = [record.args.fired for record in evidence.of(session.Faults)]
    return [
        fault.describe()
        for position, fault in enumerate(evidence.scenario.faults)
        if not any(times[position] for times in fired)
    ]


def kept_back(evidence: Evidence) -> list[str]:
    """Faults that still held something back from the destination when the migration was given up.

    The destination waits for that, or for the end of a channel behind it: why it did not end
    is not known.
    """
    return [fault.describe() for fault in _holding(evidence)]


def _holds(evidence: Evidence) -> list[str]:
    """Faults that held something back until an event that never came."""
    if evidence.expectation.ending not in _WAITED_FOR:
        return []
    return [fault.describe() for fault in _holding(evidence) if not _waits_for_time(fault)]


def _holding(evidence: Evidence) -> list[fault_plan.Fault]:
    records = evidence.of(session.Faults)
    holding = [record.args.holding for record in records if record.args.holding is not None]
    return [
        fault
        for position, fault in enumerate(evidence.scenario.faults)
        if any(holds[position] for holds in holding)
    ]


def _waits_for_time(fault: fault_plan.Fault) -> bool:
    """Whether it holds something back for a time, or until all has come; not until an event."""
    until: fault_plan.Until | None = getattr(fault, "until", None)
    return until is None or bool(until.delay_s)
