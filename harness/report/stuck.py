"""Where a migration stands that did not end: for each device that waits, the packet it waits
for, and what became of that packet on its way; for each QEMU, what it still answers.

It tells what the records say and judges nothing.
"""

from collections.abc import Iterable, Iterator

from harness.history import Kind, Record, Side
from harness.history.rundir import History

_BEFORE_LOAD = "vfio_load_state_device_buffer_"
_CONFIG_START = "vfio_load_device_config_state_start"


def describe(history: History) -> tuple[str, ...]:
    """A sentence each; nothing where the migration ended by itself."""
    records = history.records
    if not any(record.name == "deadline" and record.kind is Kind.SESSION for record in records):
        return ()
    plan = history.scenario.faults
    faults = [f"fault {n + 1} of the plan ({fault.describe()})" for n, fault in enumerate(plan)]
    found = []
    for device in history.scenario.devices:
        idx = _awaited(_about(records, device.id))
        if idx is not None:
            way = _way(_about(records, device.id), idx, faults, history.scenario.has_relay)
            found.append(f"{device.id} waits for packet {idx}: {way}")
    found += [_answers(record) for record in records if record.name == "hung"]
    found += _statuses(records)
    return tuple(found)


def _about(records: Iterable[Record], device: str) -> list[Record]:
    return [record for record in records if record.device == device]


def _awaited(records: list[Record]) -> int | None:
    """The index that the load thread said last it waits for, and did not get."""
    awaited = None
    for record in records:
        if record.kind is not Kind.TRACE or record.side is not Side.DESTINATION:
            continue
        if record.name == f"{_BEFORE_LOAD}starved":
            awaited = int(record.args["idx"])
        elif record.name in (f"{_BEFORE_LOAD}load_start", _CONFIG_START):
            awaited = None
    return awaited


def _way(records: list[Record], idx: int, faults: list[str], has_relay: bool) -> str:
    """What became of packet ``idx`` between source and destination."""
    wire = [r for r in records if r.kind is Kind.WIRE and r.args.get("idx") == idx]
    if not has_relay:
        return "no relay was there to see it"
    came = [record for record in wire if record.name == "packet_in"]
    went = [record for record in wire if record.name == "packet_out"]
    told = [f"it came from the source on channel {came[-1].channel}" if came
            else "it never came from the source"]  # fmt: skip
    told += [
        f"{faults[record.args['position']]}: {record.args['what']}"
        for record in wire
        if record.name == "fault"
    ]
    told.append(f"it went out on channel {went[-1].channel}" if went else "it never went out")
    return "; ".join(told)


def _answers(record: Record) -> str:
    loop = "answers" if record.args.get("main_loop_alive") else "does not answer"
    monitor = "answers" if record.args.get("monitor_alive") else "does not answer"
    return f"the {record.side}'s main loop {loop}, its monitor {monitor} out-of-band"


def _statuses(records: Iterable[Record]) -> Iterator[str]:
    """Each side's last word about the migration, before the harness ended both."""
    last: dict[Side, str] = {}
    is_given_up = False
    for record in records:
        is_given_up |= record.name == "deadline" and record.kind is Kind.SESSION
        if is_given_up and record.name == "execute" and record.args["command"] == "quit":
            break
        value = record.args.get("value")
        if record.name == "MIGRATION":
            last[record.side] = str(record.args["status"])
        elif record.args.get("command") == "query-migrate" and isinstance(value, dict):
            last[record.side] = str(value.get("status", last.get(record.side, "nothing")))
    for side, status in last.items():
        yield f"the {side}'s last status is {status}"
