"""Broken twins of runs whose destination is given something else."""

from harness.history.records import Kind, Record, Side
from harness.history.session import Deadline
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin

SRC, DST = Side.SOURCE, Side.DESTINATION


@twin("SET-10", "RUN", on="other machine")
def neither_side_ends(records: list[Record]) -> list[Record]:
    """Both wait for what does not come."""
    end = one(records, "MIGRATION", side=SRC, status="failed")
    late = Deadline(waiting_for="the end of source and destination", deadline_s=15.0, waited_s=15.0)
    kept = drop(drop(records, "MIGRATION", status="failed"), "stderr")
    answers = some(kept, "return", command="query-migrate")
    return [*swap(kept, answers, value={"status": "active"}), Record.of(end.t_ns, SRC, late)]


@twin("SET-10", on="other machine")
def source_is_lost_with_its_migration(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    value = {"status": "postmigrate", "running": False}
    return swap(records, [answer], value=value)


@twin("ORD-9", "RUN", on="other device")
def other_device_is_accepted(records: list[Record]) -> list[Record]:
    """The guest goes on with a device that is not its own."""
    ends = some(records, "MIGRATION", status="failed")
    records = drop(swap(records, ends, status="completed"), "stderr")
    answers = some(records, "return", command="query-migrate")
    resumed = Record(ends[0].t_ns, DST, Kind.QMP, "RESUME")
    return [*swap(records, answers, value={"status": "completed"}), resumed]


@twin("ORD-9", on="other device")
def other_device_is_not_named(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "stderr"), line="qemu: Failed to load PCIDevice:config")
