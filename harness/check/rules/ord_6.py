"""ORD-6: Several devices at once: each has its own indices, load thread and bytes.

The bytes of emulated devices differ by the seeds of their states; those of a kernel's device by
what was written into its serial ports, by the harness or by a guest, which uses another pattern
for each device.  QEMU's load threads come from a pool, so one thread may serve two devices one
after the other.  It may not serve two at the same time, and all loads of a device come from
the thread that was started for it.
"""

from harness.check import guest, serial_ports
from harness.check.assumptions import Assumption
from harness.check.evidence import LOAD_START, STARVED, THREAD_END, THREAD_START, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import Received, Sent
from harness.history.records import Event, Record, Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-6",
    title="Several devices at once do not interfere with each other",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if len(scenario.devices) < 2:
        return "one device only"
    return completed(scenario, expectation)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    finding = _foreign_bytes(evidence) or _threads(evidence) or _gaps(evidence)
    if finding is not None:
        return finding
    received = sum(_is_told(evidence, device.id) for device in evidence.devices)
    threads = {
        record.tid
        for device in evidence.multifd_devices
        for record in evidence.trace(Side.DESTINATION, THREAD_START, device)
    }
    numbers = {"devices_compared": received, "load_threads": len(threads)}
    if received < len(evidence.scenario.devices):
        return RULE.unknown(serial_ports.why_not_compared(evidence), **numbers)
    if evidence.multifd_devices and not threads:
        return RULE.unknown("no load thread was seen", **numbers)
    return RULE.valid("each device has its own indices, load thread and bytes", **numbers)


def _is_told(evidence: Evidence, device: str) -> bool:
    """Whether it is known what the destination device got."""
    if not serial_ports.is_open(evidence, device):
        return serial_ports.ports_compared(evidence, device) > 0 or guest.found_whole(
            evidence, device
        )
    return bool(evidence.of(Received, Side.DESTINATION, device))


def _foreign_bytes(evidence: Evidence) -> Finding | None:
    """A device that received what another one sent."""
    if not evidence.endings.is_completed:
        return None
    sent: dict[str, list[Record[Sent]]] = {}
    for device in evidence.scenario.devices:
        for record in evidence.of(Sent, Side.SOURCE, device.id)[-1:]:
            if record.args.bytes:
                sent.setdefault(record.args.digest, []).append(record)
    for device in evidence.scenario.devices:
        for received in evidence.of(Received, Side.DESTINATION, device.id)[-1:]:
            origins = sent.get(received.args.digest, [])
            if origins and device.id not in [origin.device for origin in origins]:
                return RULE.violated(
                    f"{device.id} received the state of {origins[0].device}",
                    origins[0],
                    received,
                    shape="foreign-bytes",
                )
        if theirs := serial_ports.foreign(evidence, device.id):
            return RULE.violated(
                f"{device.id} shows the state of {theirs[0].device}", *theirs, shape="foreign-bytes"
            )
    return None


def _threads(evidence: Evidence) -> Finding | None:
    """A load by a thread that is not the device's, or is another's at the same time."""
    spans: list[tuple[int, int, Event]] = []
    for device in evidence.multifd_devices:
        starts = evidence.trace(Side.DESTINATION, THREAD_START, device)
        ends = evidence.trace(Side.DESTINATION, THREAD_END, device)
        if not starts or not starts[0].tid:
            continue
        begun, end = starts[0], ends[-1].t_ns if ends else evidence.manifest.ended_ns
        for name in (LOAD_START, STARVED):
            for record in evidence.trace(Side.DESTINATION, name, device):
                if record.tid not in (begun.tid, 0):
                    return RULE.violated(
                        f"{device}: thread {record.tid} loads, but its load thread is {begun.tid}",
                        begun,
                        record,
                        shape="foreign-load-thread",
                    )
        spans.append((begun.t_ns, end, begun))
    for at, (since, until, begun) in enumerate(spans):
        for other_since, other_until, other in spans[:at]:
            if begun.tid == other.tid and since < other_until and other_since < until:
                return RULE.violated(
                    f"{other.device} and {begun.device} share the load thread {begun.tid}",
                    other,
                    begun,
                    shape="shared-load-thread",
                )
    return None


def _gaps(evidence: Evidence) -> Finding | None:
    """A hole in a device's indices, though its migration completed."""
    for device in evidence.multifd_devices if evidence.endings.is_completed else ():
        reception = evidence.reception(device)
        last = evidence.config_idx(device)
        idx = next((i for i in range(last) if i not in reception.incoming), -1)
        if last in reception.incoming and idx >= 0:
            return RULE.violated(
                f"{device}: packet {idx} never came in, but packet {last} did",
                reception.incoming[last],
                shape="packet-never-came",
            )
    return None
