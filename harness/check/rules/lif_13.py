"""LIF-13: A migration leaves no descriptors and threads behind.

It applies to a migration whose source has been through an earlier one, so that whatever QEMU
creates once and keeps is there already.  What the source's process holds before and after the
migration is compared: its descriptors of each kind, and the number of its threads (proc(5)).

This could be wrong in both ways.  Threads of thread pools wait for more work, each with its trace
file open: they count as nothing.  A thread is seen for a moment after it was joined: the harness
waits for it.  Of a QEMU that was the destination before, this is the first migration that it
sends: only its sockets and threads are compared.  Where a QEMU hangs or ends, it is UNKNOWN.
A source that has failed may have a migration thread that waits forever: a violation says so.
"""

from harness.check import hang, interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.process import Resources
from harness.history.records import Record, Side

RULE = Rule(
    id="LIF-13",
    title="A migration leaves no descriptors and threads behind",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_IDLE = ("pool", "worker")
"""Threads of thread pools: of GLib, and of QEMU (util/thread-pool.c)."""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if not interruption.continued_after(evidence):
        return "the source has made no migration before"
    if not evidence.of(Resources, Side.SOURCE):
        return "what the source holds was not recorded"
    if interruption.was_ended(evidence, Side.SOURCE):
        return "the scenario has ended the source"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    held = {str(record.args.at): record for record in evidence.of(Resources, Side.SOURCE)}
    if "booted" not in held or "ended" not in held:
        return RULE.unknown("what the source holds was recorded once only")
    if evidence.endings.deadline is not None:
        return RULE.unknown("the migration did not end")
    before, after = held["booted"].args, held["ended"].args
    idle = _idle(after) - _idle(before)
    was_source = interruption.continued_after(evidence) != "completed"
    for kind, number in after.descriptors.items():
        room = max(idle, 0) if kind == "file" else 0
        more = number - before.descriptors.get(kind, 0) - room
        if more > 0 and (was_source or kind == "socket"):
            words = f"{more} more descriptors of the kind {kind}"
            return _left(evidence, words, "descriptors-left", held)
    more = _busy(after) - _busy(before)
    if more > 0:
        return _left(evidence, f"{more} more threads", "threads-left", held)
    return RULE.valid(
        "the source holds no more than before",
        descriptors=sum(after.descriptors.values()),
        threads=_busy(after),
    )


def _left(
    evidence: Evidence, words: str, shape: str, held: dict[str, Record[Resources]]
) -> Finding:
    """A violation; a thread that waits for what never comes is the cause of what it holds."""
    cause = hang.cause(evidence, held["ended"])
    is_known = cause is not None and hang.side_of(cause) is Side.SOURCE
    return RULE.violated(
        f"after the migration the source has {words}"
        + (f"; {cause.words}" if cause and is_known else ""),
        held["booted"],
        held["ended"],
        *(cause.records if cause and is_known else ()),
        shape=cause.shape if cause and is_known else shape,
    )


def _idle(held: Resources) -> int:
    return sum(number for name, number in held.threads.items() if name.startswith(_IDLE))


def _busy(held: Resources) -> int:
    return sum(held.threads.values()) - _idle(held)
