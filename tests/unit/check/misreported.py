"""A SYNTHETIC run with a device that misreports its sizes."""

from harness.check.convergence import ESTIMATE, EXACT
from harness.history.device import SizeAnswer
from harness.history.records import Kind, Record
from harness.history.rundir import History
from harness.scenario import MIB, EmulatedDevice
from harness.scenario.misreports import Misreport, Query
from tests.twins.damage import one, pick
from tests.unit.check.story import DST, SRC, US, device

INITIAL = 3 * MIB
STAND_IN = 100 << 30
FAILS = (Misreport(query=Query.DATA_SIZE, first=2, errno=5),)
NO_INFO = (Misreport(query=Query.PRECOPY_INFO, errno=5),)
INIT_DATA_SENT = 0xFFFFFFFF_EF100005


def misreporting(name: str = "vfio0", misreports=FAILS, **fields) -> EmulatedDevice:
    return device(
        name, pre_copy=True, precopy_initial_bytes=INITIAL, misreports=misreports, **fields
    )


def answer(query: Query, number: int, *sizes: int, left: int, planned=False) -> SizeAnswer:
    """One with these sizes; an EIO without."""
    error = 0 if sizes else 5
    return SizeAnswer(
        query=query.value, number=number, errno=error, sizes=list(sizes), left=left, planned=planned
    )


def with_sizes(
    run: History, *late: int, total: int = STAND_IN, exact=True, taken: int | None = None
) -> list[Record]:
    """The records, with two answers of each device, a total of the source, and its stop.

    :param late: the size of the second answer; none for an EIO
    :param taken: what the source traced for it; None for nothing
    """
    found = list(run.records)
    setup = one(found, "MIGRATION", side=SRC, status="active").t_ns
    stop = pick(found, "arc", side=SRC, state="PRE_COPY_P2P")[0].t_ns
    for spec in run.scenario.emulated:
        size = spec.total_size
        asked = [(setup - US, answer(Query.DATA_SIZE, 1, size, left=size))]
        if exact:
            asked.append(
                (stop - 3 * US, answer(Query.DATA_SIZE, 2, *late, left=spec.size, planned=True))
            )
        found += [Record.of(at, SRC, body, spec.id) for at, body in asked]
        if taken is not None:
            args = {"name": spec.id, "stopcopy_size": taken}
            name = "vfio_state_pending_exact"
            found.append(Record(stop - 2500, SRC, Kind.TRACE, name, args, spec.id, 100))
    name = EXACT if exact else ESTIMATE
    args = {"size": total, "pre": total, "post": 0}
    found.append(Record(stop - 2 * US, SRC, Kind.TRACE, name, args, tid=100))
    found.append(Record(stop - US, SRC, Kind.QMP, "STOP", {}))
    return sorted(found, key=lambda record: record.t_ns)


def with_flag(run: History, loads: int) -> list[Record]:
    """The records of a run without PRECOPY_INFO, whose initial bytes are taken for sent once the
    destination has loaded ``loads`` blocks.
    """
    found = with_sizes(run, *[spec.size for spec in run.scenario.emulated])
    at = pick(found, "vfio_load_state_device_data", side=DST)[loads - 1].t_ns
    args = {"name": "vfio0", "data": INIT_DATA_SENT}
    found.append(Record(at + US, DST, Kind.TRACE, "vfio_load_state", args, "vfio0", 100))
    setup = one(found, "MIGRATION", side=SRC, status="active").t_ns
    size = run.scenario.state_size
    body = answer(Query.PRECOPY_INFO, 1, left=size, planned=True)
    found.append(Record.of(setup - US, SRC, body, "vfio0"))
    return found
