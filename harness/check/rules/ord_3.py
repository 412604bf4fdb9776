"""ORD-3: While it waits the load thread sleeps; while it writes to a slow device, later
packets are received.

Waiting.  The thread traces "starved" once for each wake-up, and each packet that is queued wakes
it once.  So for one index there are at most as many starved records as packets came in
meanwhile, and a few more: the first, one for each channel whose packet was stamped before the
wait and queued in it, and 32 spurious wake-ups (SLACK).  A busy loop writes thousands.

Writing (of devices whose writes take 20 ms or more, SLOW_S).  The incoming record is
written before the queue's lock is taken.  A QEMU that holds the lock while it writes to
the device lets each channel show one packet, and then blocks it until the write is over.
So a channel that shows two packets between the start and the end of one load proves that
packets are received meanwhile.

A slow source may bring few packets, too.  So receiving counts as blocked only if all of this was
seen: more packets outstanding than channels, at most one of each channel and none in the second
half of the load, and the next one right after its end.  It must be so in nearly all of many long
loads, without proof of the contrary in any.
"""

from bisect import bisect_left, bisect_right
from collections import Counter

from harness.check.assumptions import Assumption
from harness.check.evidence import INCOMING, STARVED, THREAD_START, Evidence
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.records import Event, Side
from harness.scenario import EmulatedDevice

RULE = Rule(
    id="ORD-3",
    title="The load thread sleeps while it waits, and does not block receiving",
    skip_reason=over_multifd,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
SLACK = 32
SLOW_S = 0.02
ENOUGH_LOADS, ENOUGH_NS, CAP_NS = 4, 1_000_000_000, 250_000_000
"""So many loads, and so long in all; of each at most CAP_NS count, as the machine may have
been suspended in one."""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    waits, proofs, asked = 0, 0, 0
    for device in evidence.multifd_devices:
        finding, starved = _busy(evidence, device)
        if finding is not None:
            return finding
        waits += starved
    for spec in evidence.scenario.emulated:
        if spec.id in evidence.multifd_devices and spec.load.write_delay_s >= SLOW_S:
            asked += 1
            proof = _deaf(evidence, spec)
            if isinstance(proof, Finding):
                return proof
            proofs += proof
    numbers = {"starved": waits, "slow_devices": asked, "received_while_writing": proofs}
    if asked and not proofs:
        return RULE.unknown(
            "no load took long enough, with more packets outstanding than channels, to show "
            "whether packets are received meanwhile",
            **numbers,
        )
    if not any(evidence.trace(Side.DESTINATION, THREAD_START, d) for d in evidence.multifd_devices):
        return RULE.unknown("no load thread was seen", **numbers)
    return RULE.valid(
        "the load thread slept while it waited"
        + (", and packets were received while it wrote" if asked else ""),
        **numbers,
    )


def _busy(evidence: Evidence, device: str) -> tuple[Finding | None, int]:
    """An index with more starved records than packets came in; all starved records."""
    starved = evidence.trace(Side.DESTINATION, STARVED, device)
    counts = Counter(record.args["idx"] for record in starved)
    allowed = 1 + evidence.scenario.channels + SLACK
    many: dict[int, list[Event]] = {idx: [] for idx, count in counts.items() if count > allowed}
    for record in starved if many else ():
        if record.args["idx"] in many:
            many[record.args["idx"]].append(record)
    incoming: list[int] = []
    for idx, mine in many.items():
        incoming = incoming or [r.t_ns for r in evidence.trace(Side.DESTINATION, INCOMING, device)]
        came = bisect_right(incoming, mine[-1].t_ns) - bisect_left(incoming, mine[0].t_ns)
        if len(mine) > allowed + came:
            lasted = (mine[-1].t_ns - mine[0].t_ns) / 1e9
            return (
                RULE.violated(
                    f"{device}: the load thread woke up {len(mine)} times in {lasted:.3f} s "
                    f"while it waited for packet {idx}, and only {came} packets came in",
                    mine[0],
                    mine[-1],
                    shape="busy-wait",
                    starved=len(mine),
                    incoming=came,
                ),
                0,
            )
    return None, len(starved)


def _deaf(evidence: Evidence, spec: EmulatedDevice) -> Finding | int:
    """Loads in which a channel showed two packets; a finding if all loads held them up."""
    reception = evidence.reception(spec.id)
    incoming = evidence.trace(Side.DESTINATION, INCOMING, spec.id)
    times = [record.t_ns for record in incoming]
    proofs, lasted, blocked = 0, 0, list[tuple[Event, Event, Event]]()
    eligible = 0
    for idx, start in reception.starts.items():
        end = reception.ends.get(idx)
        if end is None:
            continue
        first, last = bisect_right(times, start.t_ns), bisect_left(times, end.t_ns)
        most = max(Counter(record.tid for record in incoming[first:last]).values(), default=0)
        if most > 1:
            proofs += 1
        if len(times) - first <= evidence.scenario.channels:
            continue  # no more outstanding than the channels could hold back
        eligible += 1
        took = end.t_ns - start.t_ns
        is_silent = last == first or times[last - 1] < start.t_ns + took // 2
        is_next_prompt = last < len(times) and times[last] - end.t_ns < took // 4
        if most <= 1 and is_silent and is_next_prompt:
            blocked.append((start, end, incoming[last]))
            lasted += min(took, CAP_NS)
    is_enough = len(blocked) >= ENOUGH_LOADS and lasted >= ENOUGH_NS
    if proofs or not is_enough or len(blocked) < 0.8 * eligible:
        return proofs
    return RULE.violated(
        f"{spec.id}: in {len(blocked)} loads no channel received a second packet, and the "
        "next packets came in as soon as the load was over",
        *blocked[-1],
        shape="receiving-held-up",
        loads=len(blocked),
    )
