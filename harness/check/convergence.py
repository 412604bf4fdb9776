"""What a source had pending in pre-copy, and how much it may leave for the switchover.

Both as QEMU counts them, from its trace.  Pending: ``migrate_pending_exact`` and
``migrate_pending_estimate``, since 11.0 ``qemu_savevm_query_pending``.  An estimate leaves out
what a device can give only once it has stopped.  Allowed is what can be sent within
downtime-limit at the bandwidth of the switchover (``migrate_transferred``, its last argument;
migration_update_counters() in migration/migration.c).  QEMU switches over in the pass in which
the exact number is below it (migration_iteration_run()).
"""

from typing import NamedTuple

from harness.check.evidence import Evidence
from harness.history import session
from harness.history.records import Event, Record, Side

ALLOWED = "migrate_transferred"
EXACT, ESTIMATE, QUERY = (
    "migrate_pending_exact",
    "migrate_pending_estimate",
    "qemu_savevm_query_pending",
)
_FEW = 3
_LONG_NS = 1_000_000_000


class Standing(NamedTuple):
    """How far a pre-copy had come at its deadline."""

    pending: int
    """Bytes, at least."""
    allowed: int
    """Bytes."""
    evidence: list[Record]
    should_have_switched: bool
    """Whether for a second each exact number was below all that was allowed meanwhile."""

    @property
    def words(self) -> str:
        """The numbers, for a sentence."""
        return f"{self.pending} bytes pending, {self.allowed} allowed"


def not_converged(evidence: Evidence) -> Record[session.NotConverged] | None:
    """The record that the time was over; None if the pre-copy ended before."""
    records = evidence.of(session.NotConverged)
    return records[-1] if records else None


def standing(evidence: Evidence, over: Record) -> Standing | None:
    """How the pre-copy stood at ``over``; None if the trace does not show it."""
    counted = _before(pending(evidence), over)
    allowed = _before([(r, r.args["size"]) for r in evidence.trace(Side.SOURCE, ALLOWED)], over)
    if not counted or not allowed:
        return None
    exact = [(record, size) for record, size in counted if is_exact(record)]
    last = (exact or counted)[-1]
    since = over.t_ns - _LONG_NS
    late = [size for record, size in exact if record.t_ns >= since]
    # What was allowed as the second began counts, too.
    started = [size for record, size in allowed if record.t_ns < since][-1:]
    limits = started + [size for record, size in allowed if record.t_ns >= since]
    return Standing(
        last[1],
        allowed[-1][1],
        [last[0], allowed[-1][0], over],
        len(late) >= _FEW and bool(started) and max(late) < min(limits),
    )


def pending(evidence: Evidence) -> list[tuple[Event, int]]:
    """Each number of bytes that was pending, in order."""
    found = [
        (record, record.args["total" if name == QUERY else "size"])
        for name in (EXACT, ESTIMATE, QUERY)
        for record in evidence.trace(Side.SOURCE, name)
    ]
    return sorted(found, key=lambda pair: pair[0].t_ns)


def is_exact(record: Event) -> bool:
    """Whether QEMU had asked the devices for it."""
    return record.name == EXACT or bool(record.args.get("exact"))


def _before(pairs: list[tuple[Event, int]], over: Record) -> list[tuple[Event, int]]:
    return [(record, size) for record, size in pairs if record.t_ns < over.t_ns]
