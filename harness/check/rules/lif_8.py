"""LIF-8: The destination's memory stays near what is queued, and a large state is freed.

The measure is the resident set of the process: before the migration, at its maximum, and after it.
The maximum that is queued is known if a relay saw the packets and the device each write: what
was delivered and not yet written.  Otherwise it is at most all of the state.  Each channel
holds one more buffer, which it is receiving (multifd_recv_thread() of
migration/multifd.c).  32 MiB (SLACK_KIB) are allowed for other memory: guest pages, threads.

Memory that remains is not necessarily leaked: the allocator keeps some of what is freed, in an
arena for each channel's thread (M_TRIM_THRESHOLD and M_ARENA_MAX of mallopt(3)).  With QEMU
10.0.13 and 11.1.3 up to 4 MiB remained with one channel, 9 with 4, 19 with 16, whatever the size
(4 to 256 MiB).  So the allocator may keep 8 MiB, and 2 MiB for each channel (KEPT_KIB,
KEPT_PER_CHANNEL_KIB).  A leak shows only if the state is at least twice that (RETURN_FACTOR): if
more than three quarters of it remain (MOST_LEFT), the buffers were not freed.  In between, and
for a leak of a few buffers, nothing can be concluded.

It does not apply if a guest runs, since its memory comes in, too; nor to a build with a sanitizer,
which holds freed memory back to detect later uses.
"""

from typing import Any, NamedTuple

from harness.check.evidence import Evidence
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.device import Write
from harness.history.process import Memory
from harness.history.records import Record, Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="LIF-8",
    title="The destination's memory stays near what is queued, and a large state is freed",
)
SLACK_KIB = 32 * 1024
KEPT_KIB, KEPT_PER_CHANNEL_KIB = 8 * 1024, 2 * 1024
"""What the allocator may keep: twice what was seen."""
RETURN_FACTOR = 2
MOST_LEFT = 0.75
"""Share of a state; if more than that remains, it is a leak."""
_KIB = 1024


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    unknown = [d.id for d in expectation.multifd_devices if d.total_bytes is None]
    reason = over_multifd(scenario, expectation)
    if scenario.guest is not None:
        reason = reason or "the guest's own memory comes to the destination, too"
    return reason or (f"how much {unknown[0]} may queue is not known" if unknown else "")


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if evidence.manifest.destination.sanitizers:
        return "a sanitizer of the destination's build holds back what is freed"
    return "" if len(_memory(evidence)) > 1 else "the destination's memory was not measured twice"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    first, last = _memory(evidence)[0], _memory(evidence)[-1]
    grown, left = last.highest - first.now, last.now - first.now
    queued, is_seen = _queued(evidence)
    buffers = max(device.buffer_size for device in evidence.expectation.multifd_devices)
    receiving = evidence.scenario.channels * buffers
    most = (queued + receiving) // _KIB + SLACK_KIB
    numbers = {
        "grown_kib": grown,
        "left_kib": left,
        "queued_kib": queued // _KIB,
        "is_queue_seen": is_seen,
    }
    if grown > most:
        return RULE.violated(
            f"the destination grew by {grown} KiB, where {queued // _KIB} KiB were queued at "
            f"most: {most} KiB are near it",
            first.record,
            last.record,
            shape="memory-grew",
            **numbers,
        )
    return _left(evidence, left, (first.record, last.record), numbers)


def _left(
    evidence: Evidence, left: int, proof: tuple[Record, Record], numbers: dict[str, Any]
) -> Finding:
    """What remained, if it can be distinguished from what the allocator keeps."""
    ids = evidence.multifd_devices
    passed = sum(spec.size for spec in evidence.scenario.emulated if spec.id in ids) // _KIB
    kept = KEPT_KIB + evidence.scenario.channels * KEPT_PER_CHANNEL_KIB
    stayed = f"{left} KiB of {passed} KiB remained"
    near = "its memory stayed near what was queued"
    if passed < RETURN_FACTOR * kept:
        sentence = f"{near}; {stayed}: too few to distinguish a leak from what the allocator keeps"
        return RULE.valid(sentence, returned="cannot be determined", **numbers)
    if left > MOST_LEFT * passed:
        return RULE.violated(
            f"the destination did not free what was queued: {stayed}, where the allocator keeps "
            f"{kept} KiB at most",
            *proof,
            shape="memory-kept",
            **numbers,
        )
    if left > kept:
        return RULE.unknown(f"{near}; {stayed}: the allocator may keep them", **numbers)
    return RULE.valid(f"{near}, and was freed", returned="yes", **numbers)


class Resident(NamedTuple):
    """A measurement of the destination's resident set, KiB."""

    record: Record
    highest: int
    now: int


def _memory(evidence: Evidence) -> list[Resident]:
    return [
        Resident(record, record.args.hwm_kib, record.args.rss_kib)
        for record in evidence.of(Memory, Side.DESTINATION)
        if record.args.rss_kib is not None
    ]


def _queued(evidence: Evidence) -> tuple[int, bool]:
    """Most bytes that were queued at once, and whether that was seen."""
    total, is_seen = 0, True
    for expected in evidence.expectation.multifd_devices:
        packets = evidence.of(wire.PacketOut, device=expected.id)
        writes = evidence.of(Write, Side.DESTINATION, expected.id)
        if not packets or not writes:
            total, is_seen = total + (expected.total_bytes or 0), False
            continue
        steps = [(record.t_ns, record.args.size) for record in packets]
        steps += [(record.t_ns, -record.args.got) for record in writes]
        level = highest = 0
        for _, change in sorted(steps):
            level += change
            highest = max(highest, level)
        total += highest
    return total, is_seen
