"""From a run's wire records to what the model must predict of it.

Only a relay whose faults did something changes what is owed: without a ``fault`` record the
scenario alone tells how the run must end.  What was seen on the wire is taken as it was
delivered; a packet that could not be delivered because the destination had closed its
channel counts as delivered, since the destination itself is the cause.

May not be used to judge several migrations in one run: their packets are not told apart.
"""

from collections import Counter, defaultdict
from typing import get_args

import msgspec

from harness.check.run import CONFIG_START, INCOMING, CheckedRun
from harness.history.records import Kind, Record, Side
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
"""What the destination says of it (vfio_load_state_buffer_insert())."""
_HEADER = 12
_MOST_CONFIG = 64 * 1024
KINDS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Fault)}
"""Each kind of fault, by its name in records."""
_IDSTR_SIZE = 256
_HEADER_FIELDS = ("magic", "version", "flags", "state_version", "next_packet_size")


def follow(run: CheckedRun) -> None:
    """Let ``run`` be judged by what was delivered, if faults changed that."""
    migrations = run.endings.commands(Side.SOURCE, "migrate")
    if len(migrations) > 1 or run.expectation.ending is not Ending.COMPLETED:
        return
    if not run.wire("fault"):
        _limit(run)
        return
    if run.scenario.has_tls:
        return  # what was delivered cannot be seen; such faults do not change it
    run.delivered = _delivered(run)
    run.prediction = predict(delivery(run))
    run.expectation = _refined(run)


def _limit(run: CheckedRun) -> None:
    """Let ``run`` be refused where the destination says that a device had more bytes queued
    than its limit, and it may have had: how many are queued depends on how slow it is.
    """
    if not any(EXCEEDED in text for _, text in run.endings.texts(Side.DESTINATION)):
        return
    limits = {d.id: int(d.properties[LIMIT]) for d in run.devices if LIMIT in d.properties}
    reasons = tuple(
        Reason(
            requirement="REF-12",
            kind="limit-exceeded",
            words=f"more bytes may be queued than {limits[expected.id]}",
            device=expected.id,
        )
        for expected in run.expectation.multifd_devices
        if expected.id in limits and may_exceed(run, expected, limits[expected.id])
    )
    if reasons:
        both = frozenset({Outcome.COMPLETED, Outcome.REFUSED})
        run.prediction = Prediction(allowed=both, reasons=reasons)
        run.expectation = _refined(run)


def may_exceed(run: CheckedRun, expected: DeviceExpectation, limit: int) -> bool:
    """Whether all packets of a device together have more bytes than ``limit``.

    Whether VFIO's headers count is left open, and how long the configuration is not known.
    """
    total = expected.total_bytes
    spec = next(device for device in run.devices if device.id == expected.id)
    if total is None:
        return True
    smallest = min((expected.buffer_size, *spec.read_sizes))
    return total + _HEADER * (total // max(smallest, 1) + 2) + _MOST_CONFIG > limit


def seen_end(run: CheckedRun) -> Outcome | None:
    """How the destination ended; None: nothing tells.

    A destination that fails only after the deadline was waiting: the harness then ends both.
    """
    endings = run.endings
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
    if exited is not None and not exited.args["signal"] and not exited.args["asked"]:
        return Outcome.REFUSED
    return Outcome.WAITING if deadline is not None else None


def delivery(run: CheckedRun) -> Delivery:
    """What the destination was given."""
    read = _read(run)
    resumed = run.wire("main_resumed")
    limits = {
        spec.id: int(spec.properties[LIMIT]) for spec in run.devices if LIMIT in spec.properties
    }
    return Delivery(
        packets=tuple(
            _packet(number, record, is_read=number in read)
            for number, record in enumerate(run.delivered)
        ),
        sent={device: _sent(run, device) for device in run.multifd_devices},
        multifd_devices=tuple(run.multifd_devices),
        limits=limits,
        pieces=tuple(
            Piece(
                channel=piece.channel,
                t_ns=piece.t_ns,
                after=sum(record.t_ns <= piece.t_ns for record in run.delivered) - 1,
            )
            for piece in run.wire("raw_out")
        ),
        closed=_closed(run),
        ends_early=not run.scenario.return_path,
        resumed_ns=resumed[-1].t_ns if resumed else 0,
        channels=run.scenario.channels,
        hellos=tuple(
            Hello(channel=record.channel, **record.args) for record in run.wire("hello_out")
        ),
    )


def _refined(run: CheckedRun) -> Expectation:
    """The expectation with the ending that is predicted; of several the one that was seen."""
    if run.prediction is None:
        return run.expectation
    allowed, seen = run.prediction.allowed, seen_end(run)
    outcome = run.prediction.outcome or (seen if seen in allowed else None)
    ending = {
        Outcome.COMPLETED: Ending.COMPLETED,
        Outcome.REFUSED: Ending.REFUSED_IN_LOAD,
        Outcome.WAITING: Ending.WAITING,
        None: Ending.OPEN,
    }[outcome]
    side = Side.DESTINATION if ending is Ending.REFUSED_IN_LOAD else None
    return msgspec.structs.replace(run.expectation, ending=ending, refused_by=side)


def _closed(run: CheckedRun) -> tuple[int, ...]:
    closings = [
        record for record in run.wire("fault") if KINDS[record.args["fault"]].closes_channels
    ]
    return tuple(dict.fromkeys(record.channel for record in closings))


def _delivered(run: CheckedRun) -> tuple[Record, ...]:
    closed = _closed(run)
    lost = [record for record in run.wire("packet_lost") if record.channel not in closed]
    return tuple(sorted([*run.wire("packet_out"), *lost], key=lambda record: record.t_ns))


def _packet(number: int, record: Record, *, is_read: bool) -> Packet:
    args = record.args
    idstr = bytes.fromhex(args.get("idstr", ""))
    return Packet(
        number=number,
        t_ns=record.t_ns,
        channel=record.channel,
        device=record.device,
        idx=args["idx"],
        size=args["size"],
        digest=args["digest"],
        state_flags=args["state_flags"],
        instance_id=args["instance_id"],
        marker=args.get("marker", ""),
        has_idstr_end=len(idstr) < _IDSTR_SIZE or 0 in idstr,
        is_read=is_read,
        **{name: args.get(name) for name in _HEADER_FIELDS},
    )


def _sent(run: CheckedRun, device: str) -> Sent:
    packets = run.wire("packet_in", device)
    configs = [record for record in packets if record.args["state_flags"] & CONFIG_STATE]
    config = configs[-1].args if configs else {}
    return Sent(
        instance_id=packets[0].args["instance_id"] if packets else 0,
        indices=frozenset(r.args["idx"] for r in packets if r.args["idx"] is not None),
        config_idx=config.get("idx"),
        config_size=config.get("size", 0),
        config_digest=config.get("digest", ""),
    )


def _read(run: CheckedRun) -> set[int]:
    """Numbers of packets that the destination told of before its last configuration's load.

    A channel is read in order: what came in on it tells the same of all before it.
    """
    loads = [
        record
        for device in run.multifd_devices
        for record in run.trace(Side.DESTINATION, CONFIG_START, device)[-1:]
    ]
    if not loads:
        return set()
    until = max(record.t_ns for record in loads)
    told: dict[int, Counter[tuple[str, int]]] = defaultdict(Counter)
    for device in run.devices_with(Kind.TRACE, Side.DESTINATION, INCOMING):
        for record in run.trace(Side.DESTINATION, INCOMING, device):
            if record.t_ns < until:
                told[record.channel][device, record.args["idx"]] += 1
    read: set[int] = set()
    for channel, packets in told.items():
        passed: list[int] = []
        for number, record in enumerate(run.delivered):
            if record.channel == channel:
                passed.append(number)
                key = record.device, record.args["idx"]
                if packets[key]:
                    packets[key] -= 1
                    read.update(passed)
                    passed.clear()
    return read
