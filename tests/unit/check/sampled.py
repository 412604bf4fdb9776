"""A SYNTHETIC run whose source is asked about its pre-copy, as QEMU 11.1 answers."""

from harness.check.rules.sta_4 import TOTAL
from harness.history.device import Read
from harness.history.records import Kind, Record
from harness.history.rundir import History
from harness.scenario import MIB
from tests.unit.check.story import SRC, US

BANDWIDTH = 1_000_000
INITIAL = 3 * MIB


def with_samples(run: History, *, counts_all: bool = True) -> list[Record]:
    """The records, with an answer behind each read of the pre-copy.

    :param counts_all: as QEMU 11.1; else as 10.0, which counts RAM only
    """
    found: list[Record] = list(run.records)
    reads = [r for r in run.records if isinstance(r.args, Read) and r.side == SRC]
    for done, read in enumerate(reads[: INITIAL // MIB], start=1):
        left, precopy = run.scenario.state_size - done * MIB, INITIAL - done * MIB
        sizes = {"stopcopy_size": left, "precopy_init_size": precopy, "precopy_dirty_size": 0}
        value = {
            "status": "active",
            "vfio": {"transferred": done * MIB},
            "expected-downtime": left * 1000 // BANDWIDTH if counts_all else 0,
            "ram": {"remaining": 0, "dirty-sync-count": done},
        }
        name = "vfio_state_pending" if counts_all else "vfio_state_pending_exact"
        story = [(Kind.TRACE, name, "vfio0", {"name": "vfio0", **sizes})]
        if counts_all:
            value["remaining"] = left
            story.append((Kind.TRACE, TOTAL, "", {"exact": 1, "total": left}))
        story += [
            (Kind.QMP, "execute", "", {"command": "query-migrate", "arguments": {}}),
            (Kind.QMP, "return", "", {"command": "query-migrate", "value": value}),
        ]
        for number, (kind, name, device, args) in enumerate(story, start=1):
            found.append(Record(read.t_ns + number * US, SRC, kind, name, args, device))
    return found
