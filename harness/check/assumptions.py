"""What has to hold before a requirement can be judged.  Checked first, told by name."""

import enum
from fnmatch import fnmatchcase

from harness.check import run as seen
from harness.check.endings import PEERS
from harness.check.run import CheckedRun
from harness.history.records import Kind, Side

_READ = {
    Side.SOURCE: (
        seen.SAVE_SETUP,
        seen.SAVE_BLOCK,
        seen.SAVE_THREAD_START,
        seen.SAVE_THREAD_END,
        seen.SAVE_MAIN_START,
        "vfio_migration_set_device_state",
    ),
    Side.DESTINATION: (
        seen.INCOMING,
        seen.STARVED,
        seen.LOAD_START,
        seen.LOAD_END,
        seen.THREAD_START,
        seen.THREAD_END,
        seen.CONFIG_START,
        seen.CONFIG_END,
        seen.MAIN_DATA,
        "multifd_recv_thread_start",
        "multifd_recv_thread_end",
        "multifd_recv_unfill",
    ),
}
"""Trace events whose absence means something to the rules."""


class Assumption(enum.Enum):
    """Something that a rule relies on."""

    COMPLETE = "the history has all that was seen"
    LAUNCHED = "both QEMUs were started"
    SOURCE_TRACE = "the source's trace is there"
    DESTINATION_TRACE = "the destination's trace is there"
    ENDINGS_KNOWN = "the end of both processes was seen"
    ENDED_WELL = "the migration completed, and neither QEMU ended before it was told to"


def check(run: CheckedRun) -> dict[Assumption, str]:
    """The assumptions that do not hold, each with why not."""
    found = {
        Assumption.COMPLETE: "" if run.manifest.complete else "the run was not recorded to its end",
        Assumption.LAUNCHED: _launched(run),
        Assumption.SOURCE_TRACE: _traced(run, Side.SOURCE),
        Assumption.DESTINATION_TRACE: _traced(run, Side.DESTINATION),
        Assumption.ENDINGS_KNOWN: _endings_known(run),
        Assumption.ENDED_WELL: _ended_well(run),
    }
    return {assumption: why for assumption, why in found.items() if why}


def _launched(run: CheckedRun) -> str:
    absent = [side for side in PEERS if run.endings.launched[side] is None]
    return f"there is no record of a start of the {' and the '.join(absent)} QEMU" if absent else ""


def _endings_known(run: CheckedRun) -> str:
    absent = [side for side in PEERS if run.endings.exited[side] is None]
    return f"there is no record of the end of the {' and the '.join(absent)} QEMU" if absent else ""


def _ended_well(run: CheckedRun) -> str:
    for side in PEERS:
        record = run.endings.crash(side)
        if record is not None:
            signal = record.args.get("signal", 0)
            how = f"by signal {signal}" if signal else f"with status {record.args.get('status')}"
            return f"the {side} QEMU ended {how}, unexpectedly"
    for side in PEERS:
        status = run.endings.status(side)
        if status != "completed":
            return f"the migration did not complete: the {side} says {status or 'nothing'}"
    return ""


def _traced(run: CheckedRun, side: Side) -> str:
    facts = run.manifest.source if side is Side.SOURCE else run.manifest.destination
    if not run.scenario.trace:
        return "the scenario enables no trace events"
    if absent := [event for event in _READ[side] if not _is_enabled(event, run.scenario.trace)]:
        return f"the scenario's trace patterns leave out {absent[0]} of the {side} QEMU"
    if not facts.trace_events:
        return f"the {side} QEMU was built without the log trace backend"
    if not run.has_trace(side):
        return f"there is no trace of the {side} QEMU"
    for record in run.named(Kind.TRACE, side, "?"):
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
