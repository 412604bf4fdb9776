"""PRE-3: between pre-copy and stop-copy nothing is lost, and nothing is sent twice."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.device import Read
from harness.history.records import Record
from harness.scenario import MIB
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import US, changed, find, good, only
from tests.unit.check.story import DST, SRC

GOOD = ("pre-copy", "pre-copy, main channel")


@twin("PRE-3", on="pre-copy, main channel")
def last_read_is_left_out(records: list[Record]) -> list[Record]:
    reads = [read for read in some(records, "read", side=SRC) if read.args.got]
    return [record for record in records if record is not reads[-1]]


def with_enomsg(records: list[Record]) -> list[Record]:
    first = some(records, "read", side=SRC)[0]
    empty = Read(offset=0, asked=MIB, got=0, errno=42)
    return [*records, Record.of(first.t_ns + US, SRC, empty, "vfio0")]


@pytest.mark.parametrize("name", GOOD)
def test_state_that_arrives_once_is_valid(name):
    run = good(name)
    finding = find(changed(run, with_enomsg(list(run.records))), "PRE-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"precopy_bytes": 3 * MIB, "enomsg": 1, "changes": 0}


@pytest.mark.parametrize(
    ("more", "shape"), [(-MIB, "lost"), (MIB, "sent-twice"), (0, "bytes-differ")]
)
def test_other_bytes_are_a_violation(more, shape):
    run = good("pre-copy")
    arrived = one(run.records, "received", side=DST)
    size = arrived.args.bytes + more
    records = swap(list(run.records), [arrived], bytes=size, first_difference=MIB)
    finding = find(changed(run, records), "PRE-3")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


def test_enomsg_is_no_error():
    run = good("pre-copy")
    records = with_enomsg(list(run.records))
    records = swap(records, some(records, "MIGRATION", status="completed"), status="failed")
    value = {"status": "failed", "error-desc": "vfio0: No message of desired type"}
    records = swap(records, some(records, "return", command="query-migrate"), value=value)
    finding = find(changed(run, records), "PRE-3")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "enomsg-taken-for-an-error")


@pytest.mark.parametrize("name", ["received", "sent", "read"])
def test_what_is_not_known_is_not_judged(name):
    run = good("pre-copy")
    assert find(changed(run, drop(list(run.records), name)), "PRE-3").outcome is Outcome.UNKNOWN


def test_state_that_is_read_after_the_stop_only_is_not_judged():
    run = good("pre-copy")
    stop = next(r for r in only(run, "arc", side=SRC) if r.args.path == ["STOP_COPY"])
    records = swap(list(run.records), [stop], t_ns=run.records[0].t_ns + US)
    assert find(changed(run, records), "PRE-3").outcome is Outcome.UNKNOWN


def test_device_without_pre_copy_is_not_judged():
    assert judge(good("multifd")).finding("PRE-3") is None
