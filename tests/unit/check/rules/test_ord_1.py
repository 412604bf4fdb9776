"""ORD-1: loads in index order, each once; the bytes are the source's."""

from typing import Any

import msgspec
import pytest

from harness.check.evidence import INCOMING, LOAD_END, LOAD_START
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record, Side
from harness.history.device import NotCompared
from harness.history.rundir import History
from harness.history.wire import Delivered
from harness.scenario import MIB
from harness.scenario.fault_plan import Drop
from tests.twins.damage import change, one, pick, swap
from tests.unit.check.histories import (
    DST,
    SRC,
    changed,
    completed,
    device,
    evidence_of,
    find,
    good,
    only,
    replaced,
    scenario,
    with_args,
    without,
)
from tests.unit.check.story import MS


def violated(run) -> str:
    finding = find(run, "ORD-1")
    assert finding.outcome is Outcome.VIOLATED, finding.sentence
    assert finding.evidence
    return finding.sentence


def loads(run, idx: int):
    return pick(run.records, LOAD_START, LOAD_END, device="vfio0", idx=idx)


def test_good_run_counts_loads_and_devices():
    finding = find(good("multifd"), "ORD-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"devices_compared": 2, "loads": 25}


def test_main_channel_is_judged_by_its_bytes():
    finding = find(good("compression"), "ORD-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"devices_compared": 1, "loads": 0}


def test_arrival_and_load_with_one_stamp_are_no_contradiction():
    """Stamps have microseconds, and the two are written to two logs."""
    run = good("multifd")
    start = loads(run, 5)[0]
    packet = one(run.records, INCOMING, device="vfio0", idx=5)
    others = [record for record in run.records if record is not packet]
    later_in_file = change(packet, t_ns=start.t_ns)
    assert find(changed(run, [*others, later_in_file]), "ORD-1").outcome is Outcome.VALID


def test_load_before_its_packet_shows_both():
    run = good("multifd")
    packet = one(run.records, INCOMING, device="vfio0", idx=5)
    late = replaced(run, packet, t_ns=packet.t_ns + 10 * MS)
    finding = find(late, "ORD-1")
    assert "packet 5 was loaded before it had arrived" in finding.sentence
    assert {record.name for record in finding.evidence} == {INCOMING, LOAD_START}
    assert {record.args["idx"] for record in evidence_of(finding)} == {5}


def test_load_out_of_order_shows_the_load_before_it():
    run = good("multifd")
    finding = find(changed(run, [r for r in run.records if r not in loads(run, 7)]), "ORD-1")
    assert "packet 8 was loaded while packet 7 was next" in finding.sentence
    assert [record.args["idx"] for record in evidence_of(finding)] == [6, 8]


def test_last_buffer_that_was_left_out():
    run = good("multifd")
    assert "packet 20 arrived and was never loaded" in violated(
        changed(run, [r for r in run.records if r not in loads(run, 20)])
    )


def test_load_that_never_ended():
    run = good("multifd")
    end = one(run.records, LOAD_END, device="vfio0", idx=20)
    assert "the load of packet 20 never ended" in violated(
        changed(run, [record for record in run.records if record is not end])
    )


def test_load_inside_a_load():
    run = good("multifd")
    end = one(run.records, LOAD_END, device="vfio0", idx=3)
    next_end = one(run.records, LOAD_END, device="vfio0", idx=4)
    late = replaced(run, end, t_ns=next_end.t_ns)
    assert "packet 4 was begun while packet 3 was being loaded" in violated(late)


def test_what_a_failed_run_left_undone_is_no_contradiction():
    run = good("multifd")
    cut = one(run.records, LOAD_START, device="vfio0", idx=10).t_ns
    kept = [r for r in run.records if r.kind is not Kind.TRACE or r.t_ns <= cut]
    failed = swap(kept, pick(kept, "MIGRATION", status="completed"), status="failed")
    failed = [r for r in failed if r.name not in ("RESUME", "return")]
    assert find(changed(run, failed), "ORD-1").outcome is Outcome.UNKNOWN


# -- bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"digest": "bad", "first_difference": 77}, "they differ first at byte 77"),
        ({"bytes": 5, "digest": "bad", "first_difference": 5}, "received 5 bytes of the"),
        ({"bytes": 5, "digest": "bad", "first_difference": -1}, "received 5 bytes of the"),
        ({"first_difference": 9}, "they differ first at byte 9"),
    ],
)
def test_bytes_that_are_not_the_sources(fields, words):
    run = good("multifd")
    received = only(run, "received", device="vfio1")
    finding = find(changed(run, swap(list(run.records), received, **fields)), "ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    assert words in finding.sentence
    assert "vfio1" in finding.sentence
    assert [record.name for record in finding.evidence] == ["sent", "received"]


def test_bytes_on_the_main_channel_are_judged_as_well():
    run = good("compression")
    received = only(run, "received")
    assert "vfio0 received" in violated(
        changed(run, swap(list(run.records), received, digest="bad"))
    )


def test_without_what_the_source_sent_the_expected_bytes_are_compared():
    run = without(good("multifd"), "sent")
    assert find(run, "ORD-1").outcome is Outcome.VALID
    received = only(run, "received", device="vfio0")
    wrong = changed(run, swap(list(run.records), received, expected_digest="other"))
    assert violated(wrong)


def test_device_that_did_not_tell_what_it_received_is_unknown():
    finding = find(without(good("multifd"), "received", device="vfio1"), "ORD-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert "what every destination device received" in finding.sentence


def test_bytes_that_were_not_compared_in_time_are_unknown_and_it_says_why():
    run = good("multifd")
    received = only(run, "received", device="vfio1")[0]
    why = NotCompared(what="received", why="it took longer than 15 s")
    cut = Record.of(received.t_ns, received.side, why, received.device)
    finding = find(changed(run, [cut if r is received else r for r in run.records]), "ORD-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "what vfio1 received was not compared: it took longer than 15 s"


def test_wrong_bytes_are_found_without_a_trace_too():
    run = completed(scenario(trace=()))
    received = only(run, "received")
    assert violated(changed(run, swap(list(run.records), received, digest="bad")))
    assert find(run, "ORD-1").outcome is Outcome.UNKNOWN


def test_bytes_of_a_run_that_failed_are_not_compared():
    run = good("compression")
    bad = swap(list(run.records), only(run, "received"), digest="bad")
    failed = swap(bad, pick(bad, "MIGRATION", status="completed"), status="failed")
    failed = [r for r in failed if r.name not in ("RESUME", "return")]
    assert find(changed(run, failed), "ORD-1").outcome is Outcome.UNKNOWN


def test_nothing_to_compare_is_unknown_for_no_data_as_well():
    run = completed(scenario(device(size=0, reported_size=4096)))
    assert find(without(run, "received"), "ORD-1").outcome is Outcome.UNKNOWN
    assert find(run, "ORD-1").outcome is Outcome.VALID


def test_evidence_are_records_of_the_history():
    run = good("multifd")
    received = only(run, "received", device="vfio0")[0]
    wrong = change(received, digest="bad")
    damaged = changed(run, [wrong if r is received else r for r in run.records])
    finding = find(damaged, "ORD-1")
    assert finding.evidence == (only(run, "sent", device="vfio0", side=SRC)[0], wrong)
    assert finding.evidence[1].side is DST


# -- what was delivered ------------------------------------------------------------------


def with_delivered(run, size, digest, device="vfio0"):
    told = Delivered(bytes=size, digest=digest)
    at = run.records[-1].t_ns
    return changed(run, [*run.records, Record.of(at, Side.HARNESS, told, device)])


def received(run, **fields):
    told = only(run, "received", device="vfio0")
    return changed(run, swap(list(run.records), told, **fields))


def test_device_must_have_what_was_delivered_where_a_fault_changed_it():
    flipped = received(good("relayed"), digest="f" * 32, first_difference=7)
    size = flipped.scenario.devices[0].total_size
    finding = find(with_delivered(flipped, size, "f" * 32), "ORD-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["devices_compared"] == 2


@pytest.mark.parametrize(("size", "digest"), [(5, "f" * 32), (20 * MIB + 3, "e" * 32)])
def test_device_that_has_something_else_than_was_delivered(size, digest):
    flipped = received(good("relayed"), digest="f" * 32, first_difference=7)
    finding = find(with_delivered(flipped, size, digest), "ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    assert f"they are not the {size} that were delivered" in finding.sentence
    assert [record.name for record in finding.evidence] == ["delivered", "received"]


def test_what_pre_copy_carried_besides_cannot_be_compared():
    finding = find(with_delivered(good("pre-copy"), 1, "f" * 32), "ORD-1")
    assert finding.outcome is Outcome.UNKNOWN


def test_device_on_the_main_channel_has_the_sources_bytes():
    run = with_delivered(good("old machine"), 0, "f" * 32)
    assert find(run, "ORD-1").outcome is Outcome.VALID


def test_buffer_that_a_fault_has_emptied_shows_no_load():
    run = good("relayed")
    out = pick(run.records, "packet_out", device="vfio0", idx=3)
    kept = [
        r for r in list[Any](run.records)
        if not (r.name in (LOAD_START, LOAD_END) and r.device == "vfio0" and r.args["idx"] == 3)
    ]  # fmt: skip
    emptied = changed(run, swap(kept, out, size=0))
    assert find(emptied, "ORD-1").outcome is Outcome.VALID
    assert "packet 3" in find(changed(run, kept), "ORD-1").sentence


def test_packet_above_the_configuration_changes_nothing_of_what_must_be_loaded():
    run = good("relayed")
    packet = only(run, INCOMING, device="vfio0")[0]
    far = change(packet, idx=5_000_000)
    assert find(changed(run, [*run.records, far]), "ORD-1").outcome is Outcome.VALID


# -- where the model does not know a setting -----------------------------------------------


def unjudged(run, **fields):
    of = msgspec.structs.replace(run.scenario, capabilities={"x-colo": True}, **fields)
    return History(of, run.manifest, run.records)


def with_difference(at: int, got: int):
    run = good("multifd")
    received = only(run, "received")[0]
    return with_args(run, received, first_difference=at, bytes=got)


def test_other_bytes_are_wrong_whatever_the_settings_are():
    run = unjudged(with_difference(7, 9))
    assert "differ first at byte 7" in violated(run)


@pytest.mark.parametrize(
    "run",
    [
        good("multifd"),
        with_difference(9, 9),  # cut short, or carried in another way
        with_difference(0, 0),
        without(with_difference(7, 9), "RESUME"),  # nobody runs with them
        without(with_difference(7, 9), LOAD_START),
    ],
)
def test_anything_else_may_come_of_an_unknown_setting(run):
    verdict = judge(unjudged(run))
    is_wrong = only(run, "RESUME") and only(run, "received")[0].args.first_difference == 7
    assert bool(verdict.with_outcome(Outcome.VIOLATED)) is bool(is_wrong)
    if not is_wrong:
        assert verdict.not_applicable["ORD-1"] == "the model does not know capability x-colo"


def test_second_migration_by_a_command_is_not_compared():
    run = with_difference(7, 9)
    again = one(run.records, "execute", command="migrate")
    twice = unjudged(changed(run, [*run.records, change(again, t_ns=again.t_ns + MS)]))
    assert "ORD-1" in judge(twice).not_applicable


def test_bytes_that_a_fault_may_have_changed_are_not_compared():
    run = unjudged(with_difference(7, 9), faults=(Drop(),))
    assert judge(run).not_applicable["ORD-1"] == "the scenario has faults"
