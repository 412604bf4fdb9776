"""ORD-2: A buffer is loaded as soon as it is next; no further packet has to wake the
load thread.

Buffer k is next once it has arrived, the load of k - 1 has ended and the load thread
runs.  From then on there is nothing to wait for.  A lost wake-up shows in two ways:

- the run stalls: buffer k is next, and is not loaded in all the time until the harness
  gives up (if the run goes on without the buffer, ORD-1 judges that);
- k is loaded late, and just when another packet came in: that one woke the thread.

How long "as soon as" may take depends on the scheduler: less than 1 s (GRACE_NS) is never a
contradiction.  Nor is a wait in which nothing at all was recorded, on either side: the
machine may have been suspended.
"""

from bisect import bisect_right

from harness.check.assumptions import Assumption
from harness.check.evidence import INCOMING, THREAD_START, Evidence
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.records import Event, Side

RULE = Rule(
    id="ORD-2",
    title="A buffer is loaded as soon as it is next",
    skip_reason=over_multifd,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
GRACE_NS = 1_000_000_000
WOKEN_NS = 20_000_000
"""A load that begins this soon after another packet's arrival was woken by it."""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    loads, longest = 0, 0
    for device in evidence.multifd_devices:
        finding, device_loads, wait = _late(evidence, device)
        finding = finding or _stalled(evidence, device)
        if finding is not None:
            return finding
        loads, longest = loads + device_loads, max(longest, wait)
    numbers = {"loads": loads, "longest_wait_ms": round(longest / 1e6, 3)}
    if not loads and not all(
        evidence.trace(Side.DESTINATION, THREAD_START, device)
        for device in evidence.multifd_devices
    ):
        return RULE.unknown("no load thread was seen", **numbers)
    return RULE.valid("each buffer was loaded once it was next", **numbers)


def _late(evidence: Evidence, device: str) -> tuple[Finding | None, int, int]:
    """A load woken by another packet; how many loads there were, and the longest wait."""
    reception, longest = evidence.reception(device), 0
    threads = evidence.trace(Side.DESTINATION, THREAD_START, device)
    free = threads[0].t_ns if threads else 0
    arrivals: list[Event] = [*evidence.trace(Side.DESTINATION, INCOMING, device)]
    times: list[int] = []
    for idx, start in sorted(reception.starts.items()):
        arrival = reception.incoming.get(idx)
        if arrival is not None:
            wait = start.t_ns - max(free, arrival.t_ns)
            longest = max(longest, wait)
            if wait > GRACE_NS:
                times = times or [record.t_ns for record in arrivals]
                waker = arrivals[bisect_right(times, start.t_ns) - 1]
                is_woken = waker is not arrival and start.t_ns - waker.t_ns < WOKEN_NS
                margin = GRACE_NS // 10
                if is_woken and evidence.was_awake(start.t_ns - wait + margin, start.t_ns - margin):
                    return (
                        RULE.violated(
                            f"{device}: buffer {idx} was next for {wait / 1e9:.1f} s and was "
                            f"loaded only when packet {waker.args['idx']} came in",
                            arrival,
                            waker,
                            start,
                            shape="woken-by-another-packet",
                        ),
                        0,
                        longest,
                    )
        end = reception.ends.get(idx)
        free = end.t_ns if end is not None else start.t_ns
    return None, len(reception.starts), longest


def _stalled(evidence: Evidence, device: str) -> Finding | None:
    """The buffer that was next when the harness gave up waiting."""
    gave_up, threads = (
        evidence.endings.deadline,
        evidence.trace(Side.DESTINATION, THREAD_START, device),
    )
    if gave_up is None or not threads or evidence.endings.status(Side.DESTINATION) in ("failed",):
        return None
    reception = evidence.reception(device)
    idx = max(reception.starts, default=-1) + 1
    before = reception.ends.get(idx - 1)
    arrival = reception.incoming.get(idx)
    # The highest index may be the configuration's, whose load waits for other locks (ORD-4).
    if arrival is None or idx == evidence.config_idx(device) or (idx and before is None):
        return None
    waited = gave_up.t_ns - max(threads[0].t_ns, arrival.t_ns, before.t_ns if before else 0)
    if waited < GRACE_NS:
        return None
    return RULE.violated(
        f"{device}: buffer {idx} was next for {waited / 1e9:.1f} s and was never loaded",
        arrival,
        before,
        gave_up,
        shape="next-packet-not-loaded",
    )
