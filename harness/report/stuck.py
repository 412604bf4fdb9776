"""Where a migration that did not end is stuck.

That nothing moved any more, if that ended the wait.  For each device that waits: the packet that
it waits for, and what happened to that packet on its way.  For each QEMU: whether it still
responds, and the last status of the migration.
"""

from collections.abc import Iterable, Iterator

from harness.check import hang
from harness.history import Kind, Record, Side, plain, process, session, wire
from harness.history.by_type import ByType
from harness.history.rundir import History

_BEFORE_LOAD = "vfio_load_state_device_buffer_"
_CONFIG_START = "vfio_load_device_config_state_start"


def describe(history: History) -> tuple[str, ...]:
    """A sentence each.  Empty if the migration ended by itself."""
    records = history.records
    of = ByType(records).of
    if not of(session.Deadline):
        return ()
    plan = history.scenario.faults
    faults = [f"fault {n + 1} ({fault.describe()})" for n, fault in enumerate(plan)]
    found = [hang.words(record.args) for record in of(session.Standstill)]
    for device in history.scenario.devices:
        idx = _awaited(_about(records, device.id))
        if idx is not None:
            way = _way(_about(records, device.id), idx, faults, history.scenario.has_relay)
            found.append(f"{device.id} waits for packet {idx}: {way}")
    found += [_answers(record.side, record.args) for record in of(process.Hung)]
    found += _statuses(records)
    return tuple(found)


def _about(records: Iterable[Record], device: str) -> list[Record]:
    return [record for record in records if record.device == device]


_REWRITE = "rewrite"
"""The fault that may let a packet arrive as one of another device or index."""


def _awaited(records: list[Record]) -> int | None:
    """The last index that the load thread started to wait for and did not load."""
    awaited = None
    for record in records:
        if record.kind is not Kind.TRACE or record.side is not Side.DESTINATION:
            continue
        if record.name == f"{_BEFORE_LOAD}starved":
            awaited = int(plain(record)["idx"])
        elif record.name in (f"{_BEFORE_LOAD}load_start", _CONFIG_START):
            awaited = None
    return awaited


def _way(records: list[Record], idx: int, faults: list[str], has_relay: bool) -> str:
    """What happened to packet ``idx`` between source and destination."""
    if not has_relay:
        return "without a relay its way is not known"
    of = ByType(records).of
    came = [record for record in of(wire.PacketIn) if record.args.idx == idx]
    went = [record for record in of(wire.PacketOut) if record.args.idx == idx]
    steps = [f"received by the relay on channel {came[-1].channel}" if came
             else "never received by the relay"]  # fmt: skip
    met = [record.args for record in of(wire.Fault) if record.args.idx == idx]
    steps += [f"{faults[fault.position]}: {fault.what}" for fault in met]
    if went:
        steps.append(f"sent to the destination on channel {went[-1].channel}")
    elif any(fault.fault == _REWRITE for fault in met):
        steps.append("not sent to the destination as what it was")
    else:
        steps.append("never sent to the destination")
    return "; ".join(steps)


def _answers(side: Side, hung: process.Hung) -> str:
    parts = [
        f"the {what} {'responds' if is_alive else 'does not respond'}{how}"
        for what, is_alive, how in (
            ("main loop", hung.main_loop_alive, ""),
            ("monitor", hung.monitor_alive, " out-of-band"),
        )
        if is_alive is not None
    ]
    return f"{side}: {', '.join(parts) or 'it is not known whether it responds'}"


def _statuses(records: Iterable[Record]) -> Iterator[str]:
    """Each side's last migration status before the harness ended both QEMUs."""
    last: dict[Side, str] = {}
    is_given_up = False
    for record in records:
        if isinstance(record.args, session.Deadline):
            is_given_up = True
        if record.kind is not Kind.QMP:
            continue
        args = plain(record)
        if is_given_up and record.name == "execute" and args["command"] == "quit":
            break
        value = args.get("value")
        if record.name == "MIGRATION":
            last[record.side] = str(args["status"])
        elif args.get("command") == "query-migrate" and isinstance(value, dict):
            last[record.side] = str(value.get("status", last.get(record.side, "nothing")))
    for side, status in last.items():
        yield f"{side}: the last migration status is {status}"
