"""SYNTHETIC runs with a device that writes to the guest's RAM by DMA."""

import msgspec

from harness.history.device import DmaLog, DmaPages, DmaWrite, LogCall
from harness.history.process import Stderr
from harness.history.records import Body, Record
from harness.history.rundir import History
from harness.scenario import EmulatedDevice
from harness.scenario.dma import Dma
from tests.twins.damage import pick
from tests.unit.check.story import DST, SRC, US, device

ALL = (0, 1 << 32)
MAPPED = [(0, 0xC0000), (0x100000, 0x3F00000)]
LOG = DmaLog(page_size=4096, count=1, ranges=[ALL], mapped=MAPPED, errno=0)
WHY = "VFIO_FD9: Failed to start DMA logging: Input/output error"


def writing(name: str = "vfio0", **fields) -> EmulatedDevice:
    """A device that writes two pages."""
    own = ("dma_logging", "iommu_tracking")
    more = {key: fields.pop(key) for key in own if key in fields}
    return device(name, size=1000, dma=Dma(**{"pages": 2, **fields}), **more)


def pages(spec: EmulatedDevice, number: int) -> dict[str, tuple[int, str]]:
    """What the ``number``-th write leaves."""
    return {hex(at): (number, f"{at + number:016x}") for at in spec.dma.addresses}


def with_dma(
    run: History,
    *bodies: Body,
    log: DmaLog | None = LOG,
    only: EmulatedDevice | None = None,
) -> History:
    """``run``, whose devices, or ``only`` one, write to the guest's RAM three times.

    :param log: the start of the log; None for none
    :param bodies: more of what the source's device records
    """
    statuses = pick(run.records, "MIGRATION")
    begun = next(r for r in statuses if r.side is SRC and r.args["status"] == "active")
    ended = next((r for r in statuses if r.side is SRC and r.args["status"] == "device"), begun)
    added: list[Record] = []
    for spec in (only,) if only else run.scenario.emulated:
        is_kept = log is not None and not log.errno
        at = begun.t_ns
        early: list[Body] = [DmaWrite(number=1, moment="before the log", pages=2, logged=False)]
        early += [log] if log is not None else []
        early += [DmaWrite(number=2, moment="first logged", pages=2, logged=is_kept)]
        early += bodies
        for body in early:
            at += US
            added.append(Record.of(at, SRC, body, spec.id))
        last = DmaWrite(number=3, moment="before it stops", pages=2, logged=is_kept)
        added.append(Record.of(ended.t_ns + 9 * US, SRC, last, spec.id))
        quits = next(r.t_ns for r in run.records if r.name == "query-migrate" or _asks(r))
        for side in (SRC, DST):
            added.append(Record.of(quits, side, DmaPages(pages(spec, 3)), spec.id))
    return _sorted(run, [*run.records, *added])


def log_failed(run: History, *calls: LogCall, log: DmaLog = LOG, why: str = WHY) -> History:
    """``run``, which fails because of a device's log, and the source reports ``why``."""
    first = next(record for record in run.records if record.args == {"status": "failed"})
    said = Record.of(first.t_ns, SRC, Stderr(line=why))
    found = with_dma(run, *calls, log=log)
    return _sorted(found, [*found.records, said])


def _asks(record: Record) -> bool:
    return isinstance(record.args, dict) and record.args.get("command") == "query-migrate"


def _sorted(run: History, records: list[Record]) -> History:
    ordered = sorted(records, key=lambda record: record.t_ns)
    manifest = msgspec.structs.replace(run.manifest, records=len(ordered))
    return History(run.scenario, manifest, ordered)
