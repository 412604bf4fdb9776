"""ORD-5: the packets are those into which the state is split."""

import pytest

from harness.check.evidence import INCOMING
from harness.check.verdict import Outcome
from harness.history import Record
from harness.scenario import MIB
from tests.twins.damage import change, drop, pick, swap
from tests.unit.check.histories import (
    DST,
    changed,
    completed,
    device,
    find,
    good,
    only,
    refused,
    scenario,
    without,
)


@pytest.mark.parametrize(
    ("fields", "packets"),
    [
        ({"size": 0, "reported_size": 4096}, 1),
        ({"size": 1}, 2),
        ({"size": MIB - 1}, 2),
        ({"size": MIB}, 2),
        ({"size": MIB + 1}, 3),
        ({"size": 300_000, "reported_size": 1000}, 301),
        ({"size": 5, "reported_size": 4 * MIB}, 2),
    ],
)
def test_sizes(fields, packets):
    finding = find(completed(scenario(device(**fields))), "ORD-5")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["packets"] == {"vfio0": packets}


def test_pre_copy_and_short_reads_are_told_by_the_device():
    assert find(good("pre-copy"), "ORD-5").numbers["packets"] == {"vfio0": 5}
    assert find(good("short reads"), "ORD-5").outcome is Outcome.VALID


def test_packet_too_many():
    run = good("multifd")
    last = only(run, INCOMING, device="vfio1")[-1]
    finding = find(changed(run, [*run.records, change(last, idx=5)]), "ORD-5")
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio1: packet 5 came in, but the state makes 4 data packets" in finding.sentence
    assert finding.numbers == {"data_packets": 4}


@pytest.mark.parametrize("idx", [0, 3, 21])
def test_packet_that_never_came(idx):
    run = good("multifd")
    finding = find(
        changed(run, drop(list(run.records), INCOMING, device="vfio0", idx=idx)), "ORD-5"
    )
    assert finding.outcome is Outcome.VIOLATED
    assert f"packet {idx} of 22 (by the scenario) never came in" in finding.sentence


def test_no_packet_at_all():
    finding = find(without(good("multifd"), INCOMING), "ORD-5")
    assert "packet 0 of 22" in finding.sentence
    assert [record.name for record in finding.evidence] == ["return"]


def test_repeated_packet_is_not_this_rules_affair():
    run = good("multifd")
    again = only(run, INCOMING, device="vfio0")[4]
    assert find(changed(run, [*run.records, again]), "ORD-5").outcome is Outcome.VALID


def test_run_that_failed_owes_no_packets():
    assert find(refused(scenario(), "Channel error"), "ORD-5").outcome is Outcome.UNKNOWN


def test_what_cannot_be_predicted_is_unknown():
    run = without(good("pre-copy"), "read")
    setups = pick(run.records, "vfio_save_setup")
    finding = find(changed(run, swap(list(run.records), setups, data_buffer_size=0)), "ORD-5")
    assert finding.outcome is Outcome.UNKNOWN
    assert "the reads were not recorded" in finding.sentence


def test_what_the_source_cut_is_judged_by_what_came_out_of_it():
    run = good("relayed")
    assert find(run, "ORD-5").numbers["packets"] == {"vfio0": 22, "vfio1": 5}
    lost = [r for r in only(run, "packet_in", device="vfio1") if r.args.idx == 2]
    finding = find(changed(run, [r for r in run.records if r not in lost]), "ORD-5")
    assert "packet 2 of 5" in finding.sentence


def test_packets_that_were_cut_anew_behind_the_source_are_no_matter():
    run = good("relayed")
    last = max(only(run, INCOMING, device="vfio1"), key=lambda r: r.args["idx"])
    more = Record(last.t_ns, DST, last.kind, INCOMING, {"name": "vfio1", "idx": 9}, "vfio1")
    assert find(changed(run, [*run.records, more]), "ORD-5").outcome is Outcome.VALID
