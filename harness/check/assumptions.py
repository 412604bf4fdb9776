"""What has to hold before a requirement can be judged; checked first, and reported by name."""

import enum
from fnmatch import fnmatchcase

from harness.check import evidence as events
from harness.check.evidence import PEERS, Seen
from harness.history.records import Side

_READ = {
    Side.SOURCE: (
        events.SAVE_SETUP,
        events.SAVE_BLOCK,
        events.SAVE_THREAD_START,
        events.SAVE_THREAD_END,
        events.SAVE_MAIN_START,
        "vfio_migration_set_device_state",
    ),
    Side.DESTINATION: (
        events.INCOMING,
        events.STARVED,
        events.LOAD_START,
        events.LOAD_END,
        events.THREAD_START,
        events.THREAD_END,
        events.CONFIG_START,
        events.CONFIG_END,
        events.MAIN_DATA,
        "multifd_recv_thread_start",
        "multifd_recv_thread_end",
        "multifd_recv_unfill",
    ),
}
"""Trace events whose absence means something to the rules."""


class Assumption(enum.Enum):
    """Something that a rule relies on."""

    COMPLETE = "the history is complete"
    LAUNCHED = "both QEMUs started"
    SOURCE_TRACE = "the source's trace is present"
    DESTINATION_TRACE = "the destination's trace is present"
    ENDINGS_KNOWN = "the end of both processes was recorded"
    ENDED_WELL = "the migration completed, and neither QEMU ended before it was asked to"


def check(seen: Seen) -> dict[Assumption, str]:
    """The assumptions that do not hold, each with why not."""
    found = {
        Assumption.COMPLETE: ""
        if seen.manifest.complete
        else "the run was not recorded to its end",
        Assumption.LAUNCHED: _launched(seen),
        Assumption.SOURCE_TRACE: _traced(seen, Side.SOURCE),
        Assumption.DESTINATION_TRACE: _traced(seen, Side.DESTINATION),
        Assumption.ENDINGS_KNOWN: _endings_known(seen),
        Assumption.ENDED_WELL: _ended_well(seen),
    }
    return {assumption: why for assumption, why in found.items() if why}


def _launched(seen: Seen) -> str:
    absent = [side for side in PEERS if seen.endings.launched[side] is None]
    return f"there is no record of a start of the {' and the '.join(absent)} QEMU" if absent else ""


def _endings_known(seen: Seen) -> str:
    absent = [side for side in PEERS if seen.endings.ended[side] is None]
    return f"there is no record of the end of the {' and the '.join(absent)} QEMU" if absent else ""


def _ended_well(seen: Seen) -> str:
    for side in PEERS:
        record = seen.endings.crash(side)
        if record is not None:
            signal = record.args.signal
            how = f"by signal {signal}" if signal else f"with status {record.args.status}"
            return f"the {side} QEMU ended {how}, unexpectedly"
    for side in PEERS:
        status = seen.endings.status(side)
        if status != "completed":
            return f"the migration did not complete: the {side}'s status is {status or 'not known'}"
    return ""


def _traced(seen: Seen, side: Side) -> str:
    facts = seen.manifest.source if side is Side.SOURCE else seen.manifest.destination
    if not seen.scenario.trace:
        return "the scenario enables no trace events"
    if absent := [event for event in _READ[side] if not _is_enabled(event, seen.scenario.trace)]:
        return f"the scenario's trace patterns leave out {absent[0]} of the {side} QEMU"
    if not facts.trace_events:
        return f"the {side} QEMU was built without the log trace backend"
    if not seen.has_trace(side):
        return f"there is no trace of the {side} QEMU"
    for record in seen.trace(side, "?"):
        line = str(record.args.get("line", ""))
        if "vfio_" in line or "multifd_" in line:
            return f"the trace of the {side} QEMU has a line that cannot be read: {line[:80]!r}"
    return ""


def _is_enabled(event: str, patterns: tuple[str, ...]) -> bool:
    """Whether QEMU traces ``event``; a pattern behind ``-`` disables again (``-trace``)."""
    is_enabled = False
    for pattern in patterns:
        if fnmatchcase(event, pattern.removeprefix("-")):
            is_enabled = not pattern.startswith("-")
    return is_enabled
