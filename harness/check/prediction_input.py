"""From a run's wire records to what the model must predict of it.

Only a relay whose faults did something changes what must follow: without a ``fault`` record the
scenario alone determines how the run must end.  What the relay recorded is taken as delivered; a
packet that could not be delivered because the destination had closed its
channel counts as delivered, since the destination itself is the cause.

May not be used to judge several migrations in one run: it cannot distinguish their packets.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple, get_args

import msgspec

from harness.check.evidence import CONFIG_START, INCOMING, Seen
from harness.history import wire
from harness.history.records import Record, Side
from harness.model.delivery import (
    CONFIG_STATE,
    Delivery,
    Hello,
    Packet,
    Piece,
    Reason,
    Sent,
)
from harness.model.expectation import DeviceExpectation, Ending, Expectation
from harness.model.prediction import Outcome, Prediction, predict
from harness.scenario.fault_plan import Fault

LIMIT = "x-migration-max-queued-buffers-size"
"""Property of vfio-pci from QEMU 10.1, bytes."""
EXCEEDED = "would exceed the size max"
"""The destination's error (vfio_load_state_buffer_insert())."""
_HEADER = 12
_MOST_CONFIG = 64 * 1024
KINDS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Fault)}
"""Each kind of fault, by its name in records."""
_IDSTR_SIZE = 256


class Predicted(NamedTuple):
    """What must follow, once it is known what was delivered."""

    expectation: Expectation
    prediction: Prediction | None = None
    """None if no fault changed what was delivered."""
    delivered: tuple[Record[wire.Packet], ...] = ()
    """The packets that it is made from, by their numbers."""


def predicted(seen: Seen, expectation: Expectation) -> Predicted:
    """``expectation``, and where faults changed what was delivered, what follows from that."""
    migrations = seen.endings.commands(Side.SOURCE, "migrate")
    if len(migrations) > 1 or expectation.ending is not Ending.COMPLETED:
        return Predicted(expectation)
    if not seen.of(wire.Fault):
        return _limited(seen, expectation)
    if seen.scenario.has_tls:
        return Predicted(expectation)  # it cannot be seen, and such faults do not change it
    delivered = _delivered(seen)
    prediction = predict(delivery(seen, expectation, delivered))
    return Predicted(_refined(seen, expectation, prediction), prediction, delivered)


def _limited(seen: Seen, expectation: Expectation) -> Predicted:
    """A refusal is allowed if the destination reports that a device had more bytes queued
    than its limit, and it may have had: how many are queued depends on how slow it is.
    """
    if not any(EXCEEDED in text for _, text in seen.endings.texts(Side.DESTINATION)):
        return Predicted(expectation)
    limits = _limits(seen)
    reasons = tuple(
        Reason(
            requirement="REF-12",
            kind="limit-exceeded",
            words=f"more bytes may be queued than {limits[expected.id]}",
            device=expected.id,
        )
        for expected in expectation.multifd_devices
        if expected.id in limits and may_exceed(seen, expected, limits[expected.id])
    )
    if not reasons:
        return Predicted(expectation)
    both = frozenset({Outcome.COMPLETED, Outcome.REFUSED})
    prediction = Prediction(allowed=both, reasons=reasons)
    return Predicted(_refined(seen, expectation, prediction), prediction)


def _limits(seen: Seen) -> dict[str, int]:
    """Bytes that each device may have queued, where it has a limit."""
    return {
        spec.id: int(spec.properties[LIMIT]) for spec in seen.devices if LIMIT in spec.properties
    }


def may_exceed(seen: Seen, expected: DeviceExpectation, limit: int) -> bool:
    """Whether all packets of a device together have more bytes than ``limit``.

    Whether VFIO's headers count is left open, and how long the configuration is not known.
    """
    total = expected.total_bytes
    spec = next(device for device in seen.devices if device.id == expected.id)
    if total is None:
        return True
    smallest = min((expected.buffer_size, *spec.read_sizes))
    return total + _HEADER * (total // max(smallest, 1) + 2) + _MOST_CONFIG > limit


def seen_end(seen: Seen) -> Outcome | None:
    """How the destination ended; None if there is no record of it.

    A destination that fails only after the deadline was waiting: the harness then ends both.
    """
    endings = seen.endings
    deadline = endings.deadline
    statuses = [
        (status, record)
        for status, record in endings.statuses[Side.DESTINATION]
        if deadline is None or record.t_ns < deadline.t_ns
    ]
    if any(status == "failed" for status, _ in statuses):
        return Outcome.REFUSED
    if endings.status(Side.DESTINATION) == "completed":
        return Outcome.COMPLETED
    exited = endings.crash(Side.DESTINATION)
    if exited is not None and not exited.args.signal and not exited.args.asked:
        return Outcome.REFUSED
    return Outcome.WAITING if deadline is not None else None


def delivery(
    seen: Seen, expectation: Expectation, delivered: Sequence[Record[wire.Packet]]
) -> Delivery:
    """What the destination was given."""
    devices = [device.id for device in expectation.multifd_devices]
    read = _read(seen, devices, delivered)
    resumed = seen.of(wire.MainResumed)
    return Delivery(
        packets=tuple(
            _packet(number, record, is_read=number in read)
            for number, record in enumerate(delivered)
        ),
        sent={device: _sent(seen, device) for device in devices},
        multifd_devices=tuple(devices),
        limits=_limits(seen),
        pieces=tuple(
            Piece(
                channel=piece.channel,
                t_ns=piece.t_ns,
                after=sum(record.t_ns <= piece.t_ns for record in delivered) - 1,
            )
            for piece in seen.of(wire.RawOut)
        ),
        closed=_closed(seen),
        ends_early=not seen.scenario.return_path,
        resumed_ns=resumed[-1].t_ns if resumed else 0,
        channels=seen.scenario.channels,
        hellos=tuple(
            Hello(channel=record.channel, **msgspec.structs.asdict(record.args))
            for record in seen.of(wire.HelloOut)
        ),
    )


def _refined(seen: Seen, expectation: Expectation, prediction: Prediction) -> Expectation:
    """The expectation with the ending that is predicted; of several the one that was seen."""
    allowed, end = prediction.allowed, seen_end(seen)
    outcome = prediction.outcome or (end if end in allowed else None)
    ending = {
        Outcome.COMPLETED: Ending.COMPLETED,
        Outcome.REFUSED: Ending.REFUSED_IN_LOAD,
        Outcome.WAITING: Ending.WAITING,
        None: Ending.OPEN,
    }[outcome]
    side = Side.DESTINATION if ending is Ending.REFUSED_IN_LOAD else None
    return msgspec.structs.replace(expectation, ending=ending, refused_by=side)


def _closed(seen: Seen) -> tuple[int, ...]:
    closings = [
        record for record in seen.of(wire.Fault) if KINDS[record.args.fault].closes_channels
    ]
    return tuple(dict.fromkeys(record.channel for record in closings))


def _delivered(seen: Seen) -> tuple[Record[wire.Packet], ...]:
    closed = _closed(seen)
    lost = [record for record in seen.of(wire.PacketLost) if record.channel not in closed]
    packets: list[Record[wire.Packet]] = [*seen.of(wire.PacketOut), *lost]
    return tuple(sorted(packets, key=lambda record: record.t_ns))


def _packet(number: int, record: Record[wire.Packet], *, is_read: bool) -> Packet:
    args = record.args
    idstr = bytes.fromhex(args.idstr)
    return Packet(
        number=number,
        t_ns=record.t_ns,
        channel=record.channel,
        device=record.device,
        idx=args.idx,
        size=args.size,
        digest=args.digest or "",
        state_flags=args.state_flags,
        instance_id=args.instance_id,
        marker=args.marker or "",
        has_idstr_end=len(idstr) < _IDSTR_SIZE or 0 in idstr,
        is_read=is_read,
        magic=args.magic,
        version=args.version,
        flags=args.flags,
        state_version=args.state_version,
        next_packet_size=args.next_packet_size,
    )


def _sent(seen: Seen, device: str) -> Sent:
    packets = seen.of(wire.PacketIn, device=device)
    configs = [record.args for record in packets if record.args.state_flags & CONFIG_STATE]
    config = configs[-1] if configs else None
    return Sent(
        instance_id=packets[0].args.instance_id if packets else 0,
        indices=frozenset(r.args.idx for r in packets if r.args.idx is not None),
        config_idx=config.idx if config else None,
        config_size=config.size if config else 0,
        config_digest=(config.digest or "") if config else "",
    )


def _read(seen: Seen, devices: Sequence[str], delivered: Sequence[Record[wire.Packet]]) -> set[int]:
    """Numbers of packets that the destination had traced before its last configuration's load.

    A channel is read in order: what came in on it shows that all before it did.
    """
    loads = [
        record
        for device in devices
        for record in seen.trace(Side.DESTINATION, CONFIG_START, device)[-1:]
    ]
    if not loads:
        return set()
    until = max(record.t_ns for record in loads)
    arrived: dict[int, Counter[tuple[str, int | None]]] = defaultdict(Counter)
    for device in seen.traced_devices(Side.DESTINATION, INCOMING):
        for record in seen.trace(Side.DESTINATION, INCOMING, device):
            if record.t_ns < until:
                arrived[record.channel][device, record.args["idx"]] += 1
    read: set[int] = set()
    for channel, packets in arrived.items():
        passed: list[int] = []
        for number, packet in enumerate(delivered):
            if packet.channel == channel:
                passed.append(number)
                key = packet.device, packet.args.idx
                if packets[key]:
                    packets[key] -= 1
                    read.update(passed)
                    passed.clear()
    return read
