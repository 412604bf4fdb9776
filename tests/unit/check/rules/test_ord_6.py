"""ORD-6: devices do not touch each other."""

import pytest

from harness.check.evidence import INCOMING, LOAD_START, STARVED, THREAD_END, THREAD_START
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto
from tests.twins.damage import change, drop, one, pick, swap
from tests.unit.check.histories import (
    changed,
    completed,
    device,
    find,
    good,
    only,
    refused,
    scenario,
    two_devices,
    without,
)


def overlapping():
    """Both load threads run at the same time, as they do in a real run."""
    run = good("multifd")
    first = one(run.records, THREAD_START, device="vfio0")
    second = one(run.records, THREAD_START, device="vfio1")
    return changed(run, swap(list(run.records), [second], t_ns=first.t_ns + 1))


def shared(run, tid: int = 300):
    names = (LOAD_START, STARVED, THREAD_START, THREAD_END)
    return changed(run, swap(list(run.records), pick(run.records, *names, device="vfio1"), tid=tid))


def test_one_device_is_not_asked():
    assert judge(completed(scenario())).not_applicable["ORD-6"] == "one device only"


def test_good_run_counts_threads():
    finding = find(good("multifd"), "ORD-6")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"devices_compared": 2, "load_threads": 2}
    assert find(overlapping(), "ORD-6").outcome is Outcome.VALID


def test_devices_on_the_main_channel_are_judged_by_their_bytes():
    devices = [device(n, seed=i, multifd_transfer=OnOffAuto.OFF) for i, n in enumerate("ab")]
    finding = find(completed(scenario(*devices), main=("a", "b")), "ORD-6")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["load_threads"] == 0


# -- bytes -------------------------------------------------------------------------------


def test_state_of_another_device():
    run = good("multifd")
    other = only(run, "sent", device="vfio0")[0].args
    received = only(run, "received", device="vfio1")
    wrong = swap(list(run.records), received, digest=other.digest, bytes=other.bytes)
    finding = find(changed(run, wrong), "ORD-6")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == "vfio1 received the state of vfio0"
    assert [record.device for record in finding.evidence] == ["vfio0", "vfio1"]


def test_devices_with_equal_states_cannot_be_told_apart():
    run = completed(scenario(device("a"), device("b")))
    assert find(run, "ORD-6").outcome is Outcome.VALID


def test_devices_without_state_cannot_be_told_apart():
    devices = [device(n, size=0, reported_size=4096, seed=i) for i, n in enumerate("ab")]
    run = completed(scenario(*devices))
    empty = changed(run, swap(list(run.records), pick(run.records, "sent", "received"), digest="e"))
    assert find(empty, "ORD-6").outcome is Outcome.VALID


def test_bytes_that_are_wrong_in_another_way_are_ord_1s():
    run = good("multifd")
    wrong = swap(list(run.records), only(run, "received", device="vfio1"), digest="garbage")
    assert find(changed(run, wrong), "ORD-6").outcome is Outcome.VALID


def test_device_that_told_nothing_is_unknown():
    assert find(without(good("multifd"), "received", device="vfio0"), "ORD-6").outcome is (
        Outcome.UNKNOWN
    )


# -- threads -----------------------------------------------------------------------------


def test_thread_that_serves_two_devices_at_once():
    finding = find(shared(overlapping()), "ORD-6")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == "vfio0 and vfio1 share the load thread 300"
    assert [record.name for record in finding.evidence] == [THREAD_START, THREAD_START]


def test_thread_that_serves_two_devices_one_after_the_other():
    """QEMU's threads come from a pool, which uses them again."""
    assert find(shared(good("multifd")), "ORD-6").outcome is Outcome.VALID


@pytest.mark.parametrize("name", [LOAD_START, STARVED])
def test_work_by_a_thread_of_another_device(name):
    run = good("multifd")
    wrong = swap(list(run.records), only(run, name, device="vfio1")[-1:], tid=300)
    finding = find(changed(run, wrong), "ORD-6")
    assert finding.sentence == "vfio1: thread 300 loads, but its load thread is 301"


def test_threads_that_were_not_told_are_not_judged():
    run = shared(overlapping(), tid=0)
    assert find(run, "ORD-6").outcome is Outcome.VALID


def test_without_load_threads_it_is_unknown():
    finding = find(without(good("multifd"), THREAD_START), "ORD-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "no load thread was seen"


# -- indices -----------------------------------------------------------------------------


def test_hole_in_a_devices_indices():
    run = good("multifd")
    finding = find(changed(run, drop(list(run.records), INCOMING, device="vfio1", idx=2)), "ORD-6")
    assert finding.sentence == "vfio1: packet 2 never came in, but packet 4 did"


def test_packet_that_went_to_the_other_device():
    run = good("multifd")
    packet = one(run.records, INCOMING, device="vfio1", idx=2)
    wrong = [r for r in run.records if r is not packet]
    finding = find(changed(run, [*wrong, change(packet, device="vfio0")]), "ORD-6")
    assert finding.outcome is Outcome.VIOLATED


def test_failed_run_owes_nothing():
    run = refused(scenario(*two_devices()), "Channel error")
    assert find(run, "ORD-6").outcome is Outcome.UNKNOWN
