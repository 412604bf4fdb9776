"""SYNTHETIC runs with a device that has MSI-X interrupts."""

import msgspec

from harness.history.device import Arc, Armed, Fired
from harness.history.records import Body, Record
from harness.history.rundir import History
from harness.history.session import GuestInterrupts
from harness.scenario import EmulatedDevice
from harness.scenario.interrupts import At, Fire, Interrupts
from tests.unit.check.story import DST, SRC, US, device

FIRES = (Fire(at=At.BEFORE), Fire(at=At.STOPPING, vector=1), Fire(at=At.RUNNING, vector=2))
ALL = [0, 1, 2]
ON, MASKED = 0x8002, 0xC002


def interrupting(**fields) -> EmulatedDevice:
    """A device with three vectors, each of which it fires once."""
    size = fields.pop("size", 1000)
    given = {"vectors": 3, "fires": FIRES, **fields}
    return device(size=size, interrupts=Interrupts(**given))


def with_interrupts(run: History) -> History:
    """``run``, in which all interrupts arrive; those of a masked function as it is unmasked."""
    spec = run.scenario.emulated[0]
    is_masked = spec.interrupts.masked
    control = MASKED if is_masked else ON

    def seen(moment, arrived, pending=(), control=control) -> GuestInterrupts:
        return GuestInterrupts(moment, control, ALL, list(arrived), list(pending))

    added: list[Record] = []

    def put(t_ns: int, side, *bodies: Body) -> None:
        added.extend(
            Record.of(t_ns + number * US, side, body, spec.id) for number, body in enumerate(bodies)
        )

    before = ((), [0]) if is_masked else ([0], ())
    first = next(r.t_ns for r in run.records if _executes(r, "migrate-incoming"))
    put(
        first - 9 * US,
        SRC,
        Armed([], 0),
        Armed(ALL, 0),
        Fired(0, "before", True),
        seen("before", *before),
    )
    stop = next(r.t_ns for r in run.records if _arc(r, SRC, "STOP_COPY"))
    put(stop - US, SRC, Fired(1, "stopping", True))
    loaded = next(r.t_ns for r in run.records if r.name == "vfio_load_device_config_state_start")
    put(loaded + US // 2, DST, Armed([], 0), *([] if is_masked else [Armed(ALL, 0)]))
    asked = max(r.t_ns for r in run.records if _executes(r, "query-status"))
    put(asked - 9 * US, DST, Fired(2, "running", not is_masked))
    after = ((), [0, 1, 2]) if is_masked else (ALL, ())
    put(asked + US, DST, seen("after", *after))
    if is_masked:
        put(asked + 2 * US, DST, Armed(ALL, 0), seen("unmasked", ALL, control=ON))
    put(asked + 5 * US, SRC, seen("after", *(((), [0, 1]) if is_masked else ([0, 1], ()))))
    ordered = sorted([*run.records, *added], key=lambda record: record.t_ns)
    manifest = msgspec.structs.replace(run.manifest, records=len(ordered))
    return History(run.scenario, manifest, ordered)


def _executes(record: Record, command: str) -> bool:
    args = record.args
    return record.name == "execute" and isinstance(args, dict) and args["command"] == command


def _arc(record: Record, side, state: str) -> bool:
    return record.side is side and isinstance(record.args, Arc) and record.args.state == state
