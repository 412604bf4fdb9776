"""ORD-1: Whatever the order of arrival, buffers are loaded in index order, each exactly
once, and the destination device gets the source device's bytes.

The load thread's trace events are in the order in which it wrote to the device, because they
come from one thread.  Packets arrive on other threads, and time stamps have a resolution of one
microsecond: of an arrival and a load with the same stamp, the arrival is taken to be first.
Arrival is stamped before the packet is queued, so a load that is stamped before its packet's
arrival is always a contradiction.

A buffer that a source QEMU sends is never empty (a read that returns nothing ends the state), so
each data packet must show its load.  A packet that a fault has emptied has none.  The
configuration has no load events of this kind (ORD-4).

The harness cannot see what a kernel's device received: its registers must be those of the source
(``check.serial_ports``).  If a guest runs, it must find in BAR 0 what it wrote there.

If a fault changed data, the device must have what was delivered (the record ``delivered``).  Its
bytes begin with what the main channel carried in pre-copy, which that digest does not cover.
"""

from harness.check import guest, serial_ports
from harness.check.assumptions import Assumption, check
from harness.check.evidence import INCOMING, LOAD_END, LOAD_START, Evidence
from harness.check.packet_count import main_bytes
from harness.check.rule import Rule, completed, not_judged
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.device import Received, Sent
from harness.history.guest import Round
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Expectation
from harness.model.reassembly import DestinationQueue
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-1",
    title="Buffers are loaded in index order, each once, and all bytes arrive unchanged",
    stands_alone=True,
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not_judged(expectation):
        return "the scenario has faults" if scenario.faults else ""
    return completed(scenario, expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    """Where the model does not know a setting, bytes that differ are wrong all the same."""
    why = not_judged(evidence.expectation)
    return "" if not why or _runs_with_other_bytes(evidence) else why


def _runs_with_other_bytes(evidence: Evidence) -> Finding | None:
    """A device that got other bytes in the one migration, at a destination that runs the guest.

    One that got less may have got the rest in another way.
    """
    is_once = len(evidence.endings.commands(Side.SOURCE, "migrate")) == 1
    if not is_once or not evidence.qmp(Side.DESTINATION, "RESUME"):
        return None
    for device in evidence.scenario.emulated:
        received = evidence.of(Received, Side.DESTINATION, device.id)
        finding = _bytes(evidence, device.id)
        if finding and 0 <= finding.numbers["first_difference"] < received[-1].args.bytes:
            return finding
    return None


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if not_judged(evidence.expectation):
        finding = _runs_with_other_bytes(evidence)
        return finding or RULE.unknown("no device got other bytes")
    compared = 0
    for device in evidence.scenario.devices:
        finding = _bytes(evidence, device.id)
        if finding is not None:
            return finding
        word = _guests_word(evidence, device.id)
        if word is not None and _as_delivered(evidence, device.id) is None:
            said = word.args.devices[device.id]
            return RULE.violated(
                f"the guest found BAR 0 of {device.id} {said}", word, shape="bar-damaged"
            )
        compared += _is_compared(evidence, device.id)
    if evidence.multifd_devices and (reason := check(evidence).get(Assumption.DESTINATION_TRACE)):
        return RULE.unknown(reason, devices_compared=compared)
    loads = 0
    for device_id in evidence.multifd_devices:
        finding = _order(evidence, device_id)
        if finding is not None:
            return finding
        loads += len(evidence.reception(device_id).starts)
    numbers = {"devices_compared": compared, "loads": loads}
    if compared < len(evidence.scenario.devices):
        return RULE.unknown(serial_ports.why_not_compared(evidence), **numbers)
    return RULE.valid(
        "each buffer was loaded once, in order, and the bytes are those of the source", **numbers
    )


def _as_delivered(evidence: Evidence, device: str) -> Record[wire.Delivered] | None:
    """What was delivered of the device's data, where a fault may have changed it."""
    delivered = (
        evidence.of(wire.Delivered, device=device) if device in evidence.multifd_devices else ()
    )
    return delivered[-1] if delivered else None


def _guests_word(evidence: Evidence, device: str) -> Record[Round] | None:
    """The round in which the guest found the device damaged, at the destination."""
    damage = guest.damaged_device(evidence, device, Side.DESTINATION)
    return damage[1] if damage else None


def _is_compared(evidence: Evidence, device: str) -> bool:
    """Whether ``_bytes`` has all that it needs."""
    if not serial_ports.is_open(evidence, device):
        is_seen = serial_ports.ports_compared(evidence, device) > 0 or guest.tells_of(
            evidence, device
        )
        return _as_delivered(evidence, device) is None and is_seen
    is_mixed = _as_delivered(evidence, device) is not None and main_bytes(evidence, device) > 0
    return bool(evidence.of(Received, Side.DESTINATION, device)) and not is_mixed


def _bytes(evidence: Evidence, device: str) -> Finding | None:
    """The destination device's bytes against the source device's, or what was delivered."""
    if not evidence.endings.is_completed or not _is_compared(evidence, device):
        return None
    if not serial_ports.is_open(evidence, device):
        differs = serial_ports.difference(evidence, device)
        if differs is None:
            return None
        return RULE.violated(differs.sentence, *differs[1:], shape="register-differs")
    received = evidence.of(Received, Side.DESTINATION, device)
    if delivered := _as_delivered(evidence, device):
        return _changed_bytes(device, delivered, received[-1])
    args, sent = received[-1].args, evidence.of(Sent, Side.SOURCE, device)
    size = sent[-1].args.bytes if sent else args.expected_bytes
    digest = sent[-1].args.digest if sent else args.expected_digest
    if (args.bytes, args.digest) == (size, digest) and args.first_difference < 0:
        return None
    at = args.first_difference
    where = f", and they differ first at byte {at}" if at >= 0 else ""
    return RULE.violated(
        f"{device} received {args.bytes} bytes of the {size} that the source device gave{where}",
        *sent[-1:],
        received[-1],
        _guests_word(evidence, device),
        shape="bytes-differ",
        first_difference=at,
    )


def _changed_bytes(
    device: str, delivered: Record[wire.Delivered], received: Record[Received]
) -> Finding | None:
    ours, theirs = ((record.args.bytes, record.args.digest) for record in (delivered, received))
    if ours == theirs:
        return None
    return RULE.violated(
        f"{device} received {theirs[0]} bytes, and they are not the {ours[0]} that were delivered",
        delivered,
        received,
        shape="other-bytes-than-delivered",
    )


def _order(evidence: Evidence, device: str) -> Finding | None:
    """The load thread's events against the reference queue."""
    queue, last = DestinationQueue(), None
    empty = {
        record.args.idx
        for record in evidence.of(wire.PacketOut, device=device)
        if not record.args.size
    }
    reception = evidence.reception(device)
    arrivals = [*evidence.trace(Side.DESTINATION, INCOMING, device)]
    arrived = 0
    for record in evidence.events(Kind.TRACE, Side.DESTINATION, device):
        if record.name == LOAD_START:
            while arrived < len(arrivals) and arrivals[arrived].t_ns <= record.t_ns:
                idx = arrivals[arrived].args["idx"]
                queue.arrive(idx, is_empty=idx in empty)
                arrived += 1
            problem = queue.load_start(record.args["idx"])
        elif record.name == LOAD_END:
            problem = queue.load_end(record.args["idx"])
        else:
            continue
        if problem:
            arrival = reception.incoming.get(record.args["idx"])
            other = arrival if problem.endswith("arrived") else last
            return RULE.violated(f"{device}: {problem}", other, record, shape="loaded-out-of-order")
        last = record
    if not evidence.endings.is_completed:
        return None
    if queue.loading >= 0:
        begun = reception.starts[queue.loading]
        return RULE.violated(
            f"{device}: the load of packet {queue.loading} never ended",
            begun,
            shape="load-never-ended",
        )
    for idx in range(queue.next_idx, evidence.config_idx(device)):
        if idx in reception.incoming and idx not in empty:
            return RULE.violated(
                f"{device}: packet {idx} arrived and was never loaded",
                reception.incoming[idx],
                evidence.endings.last_status(Side.DESTINATION),
                shape="packet-never-loaded",
            )
    return None
