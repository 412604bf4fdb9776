"""ORD-2: what is next is loaded without another packet's help."""

import pytest

from harness.check.evidence import INCOMING, LOAD_START
from harness.check.verdict import Outcome
from harness.history import Kind, Record, Side
from harness.history.process import Memory
from harness.history.session import Deadline
from tests.twins.damage import change, drop, one
from tests.twins.transfer import load_thread_stalls, wake_up_lost
from tests.unit.check.histories import (
    DST,
    SRC,
    changed,
    evidence_of,
    find,
    good,
    only,
    replaced,
    without,
)
from tests.unit.check.story import MS, START

S = 10**9


def delayed(by_ns: int, *, waker_before_ns: int, awake: bool = True):
    """Buffer 3 of vfio0 is loaded late; the last packet comes in a little before that."""
    run = good("multifd")
    start = one(run.records, LOAD_START, device="vfio0", idx=3)
    at = run.records.index(start)
    waker = only(run, INCOMING, device="vfio0")[-1]
    late = [change(record, t_ns=record.t_ns + by_ns) for record in run.records[at:]]
    rest = drop([*run.records[:at], *late], INCOMING, device="vfio0", idx=waker.args["idx"])
    rest.append(change(waker, t_ns=start.t_ns + by_ns - waker_before_ns))
    if awake:
        rest.append(Record.of(start.t_ns + by_ns // 2, SRC, Memory(hwm_kib=1)))
    return changed(run, rest)


def test_good_run_tells_the_longest_wait():
    finding = find(good("multifd"), "ORD-2")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["loads"] == 25
    assert 0 < finding.numbers["longest_wait_ms"] < 1


def test_waiting_for_the_load_before_is_no_delay():
    """In the slow run each buffer waits for seconds, but for the device."""
    finding = find(good("slow"), "ORD-2")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["longest_wait_ms"] < 1


def test_load_woken_by_another_packet():
    finding = find(delayed(3 * S, waker_before_ns=MS), "ORD-2")
    assert finding.outcome is Outcome.VIOLATED
    assert "was next for 3.0 s and was loaded only when packet 20 came in" in finding.sentence
    assert [record.args["idx"] for record in evidence_of(finding)] == [3, 20, 3]


@pytest.mark.parametrize(
    "run",
    [
        delayed(900 * MS, waker_before_ns=MS),
        delayed(3 * S, waker_before_ns=500 * MS),
        delayed(3 * S, waker_before_ns=MS, awake=False),
    ],
    ids=["within the grace", "nobody woke it", "the machine stood still"],
)
def test_delay_that_proves_nothing(run):
    finding = find(run, "ORD-2")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["longest_wait_ms"] > 800


def test_stall_until_the_harness_gave_up():
    run = good("multifd")
    finding = find(changed(run, load_thread_stalls(list(run.records))), "ORD-2")
    assert finding.outcome is Outcome.VIOLATED
    assert "buffer 3 was next for 30.0 s and was never loaded" in finding.sentence
    assert [record.name for record in finding.evidence][-1] == "deadline"


def test_waiting_for_a_packet_that_never_came_is_no_stall():
    run = good("multifd")
    stalled = changed(run, load_thread_stalls(list(run.records)))
    finding = find(without_packet(stalled, 3), "ORD-2")
    assert finding.outcome is Outcome.UNKNOWN


def without_packet(run, idx: int):
    return changed(run, drop(list(run.records), INCOMING, device="vfio0", idx=idx))


def test_stall_of_a_destination_that_failed_is_no_stall():
    run = good("multifd")
    stalled = load_thread_stalls(list(run.records))
    (gave_up,) = [record for record in stalled if record.name == "deadline"]
    failed = Record(gave_up.t_ns - 1, DST, Kind.QMP, "MIGRATION", {"status": "failed"})
    assert find(changed(run, [*stalled, failed]), "ORD-2").outcome is Outcome.UNKNOWN


def test_configuration_that_waits_is_not_this_rules_affair():
    """Its load takes the big lock."""
    run = good("no data")
    kept = [r for r in run.records if not r.name.startswith("vfio_load_device_config")]
    kept = [r for r in kept if r.name not in ("MIGRATION", "RESUME", "return")]
    gave_up = Record.of(START + 60 * S, Side.HARNESS, Deadline(waiting_for="it", deadline_s=30.0))
    assert find(changed(run, [*kept, gave_up]), "ORD-2").outcome is Outcome.UNKNOWN


def test_buffer_without_its_packet_is_passed_over():
    """That it was loaded before it came is ORD-1's."""
    run = without_packet(good("multifd"), 3)
    assert find(run, "ORD-2").outcome is Outcome.VALID


def test_without_a_load_thread_nothing_is_known():
    run = without(good("no data"), "vfio_load_bufs_thread_start")
    finding = find(run, "ORD-2")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "no load thread was seen"


def test_thread_that_starts_after_the_packets_owes_nothing_before():
    run = good("multifd")
    late = replaced(
        run,
        only(
            run,
            INCOMING,
            device="vfio0",
        )[0],
        t_ns=START + 1,
    )
    assert find(late, "ORD-2").outcome is Outcome.VALID


def test_twin_has_the_stamps_of_a_lost_wake_up():
    run = good("multifd")
    finding = find(changed(run, wake_up_lost(list(run.records))), "ORD-2")
    arrival, waker, start = finding.evidence
    assert arrival.t_ns < waker.t_ns < start.t_ns
    assert start.t_ns - waker.t_ns < 20 * MS
