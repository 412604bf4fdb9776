"""STA-3: one incoming packet is told for each that was sent."""

import msgspec
import pytest

from harness.check.evidence import INCOMING
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
    without,
)

END, UNFILL = "multifd_recv_thread_end", "multifd_recv_unfill"


def test_packets_of_all_devices_are_counted():
    finding = find(good("multifd"), "STA-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["incoming"] == 27
    assert finding.numbers["compared_with"] == {"vfio0": "the scenario", "vfio1": "the scenario"}


@pytest.mark.parametrize("name", ["short reads", "pre-copy"])
def test_the_devices_own_reads_go_before_the_scenario(name):
    finding = find(good(name), "STA-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["compared_with"] == {"vfio0": "the device's reads"}


def test_packet_told_twice_shows_both():
    run = good("multifd")
    packet = only(run, INCOMING, device="vfio0")[3]
    again = change(packet, t_ns=packet.t_ns + 1)
    finding = find(changed(run, [*run.records, again]), "STA-3")
    assert "came in twice, and the migration was not refused" in finding.sentence
    assert finding.evidence == (packet, again)


def test_packet_that_was_not_told():
    run = good("multifd")
    finding = find(changed(run, drop(list(run.records), INCOMING, device="vfio1", idx=4)), "STA-3")
    assert "vfio1: 4 packets came in, where 5 were sent (by the scenario)" in finding.sentence


def test_packet_too_many():
    run = good("short reads")
    more = change(one(run.records, INCOMING), idx=100_000)
    finding = find(changed(run, [*run.records, more]), "STA-3")
    assert "were sent (by the device's reads)" in finding.sentence


def test_packet_for_a_device_that_is_not_there():
    run = good("multifd")
    packet = one(run.records, INCOMING)
    stray = change(packet, device="vfio7")
    finding = find(changed(run, [*run.records, stray]), "STA-3")
    assert "which is no device here" in finding.sentence
    assert finding.evidence == (stray,)


def test_packet_for_a_device_on_the_main_channel():
    off = device("b", seed=2, multifd_transfer=OnOffAuto.OFF)
    run = completed(scenario(device(), off), main=("b",))
    stray = change(one(run.records, INCOMING), device="b")
    finding = find(changed(run, [*run.records, stray]), "STA-3")
    assert finding.sentence == "a packet came in for b, whose state uses the main channel"


# -- what the channels counted -----------------------------------------------------------


@pytest.mark.parametrize("by", [-1, 1])
def test_channel_that_counted_otherwise(by):
    run = good("multifd")
    end = only(run, END)[2]
    packets = end.args["packets"] + by
    finding = find(changed(run, swap(list(run.records), [end], packets=packets)), "STA-3")
    assert f"channel 2 counted {packets} packets, 1 of them RAM, but" in finding.sentence


@pytest.mark.parametrize(
    ("error", "by", "outcome"),
    [
        (1, 1, Outcome.VALID),
        (1, 2, Outcome.VIOLATED),
        (1, -1, Outcome.VIOLATED),
        (0, 1, Outcome.VIOLATED),
    ],
)
def test_channel_that_fails_may_have_counted_a_packet_that_was_cut_off(error, by, outcome):
    run = good("multifd")
    end = only(run, END)[2]
    records = swap(list(run.records), [end], packets=end.args["packets"] + by)
    failed = msgspec.structs.replace(
        end, t_ns=end.t_ns - 1, name="multifd_recv_terminate_threads", args={"error": error}
    )
    assert find(changed(run, [*records, failed]), "STA-3").outcome is outcome


def test_packet_on_another_channel_than_was_counted():
    run = good("multifd")
    packet = only(run, INCOMING, channel=1)[0]
    moved = swap(list(run.records), [packet], channel=2)
    assert find(changed(run, moved), "STA-3").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    "run",
    [
        without(good("multifd"), END),
        without(good("multifd"), UNFILL),
        without(good("multifd"), END, UNFILL),
    ],
    ids=["no ends", "no RAM packets", "neither"],
)
def test_counts_that_were_not_traced_are_not_compared(run):
    assert find(run, "STA-3").outcome is Outcome.VALID


def test_packets_of_unknown_channels_are_not_compared():
    run = good("multifd")
    packet = only(run, INCOMING)[0]
    assert (
        find(changed(run, swap(list(run.records), [packet], channel=-1)), "STA-3").outcome
        is Outcome.VALID
    )


# -- unknown -----------------------------------------------------------------------------


def test_failed_migration_owes_nothing():
    assert find(refused(scenario(), "Channel error"), "STA-3").outcome is Outcome.UNKNOWN


def test_nothing_to_compare_with_is_unknown():
    run = without(good("pre-copy"), "read", END)
    setups = pick(run.records, "vfio_save_setup")
    finding = find(changed(run, swap(list(run.records), setups, data_buffer_size=0)), "STA-3")
    assert finding.outcome is Outcome.UNKNOWN
    assert "nothing to compare" in finding.sentence


# -- against the wire --------------------------------------------------------------------


def test_wire_is_compared_packet_by_packet():
    finding = find(good("relayed"), "STA-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["compared_with"] == {"vfio0": "the wire", "vfio1": "the wire"}


def test_packet_that_was_delivered_and_not_told():
    run = without(good("relayed"), END)
    finding = find(changed(run, drop(list(run.records), INCOMING, device="vfio1", idx=4)), "STA-3")
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio1: packet 4 was delivered on channel" in finding.sentence
    assert [record.name for record in finding.evidence] == ["packet_out"]


@pytest.mark.parametrize("is_delivered", [True, False])
def test_packet_that_came_in_twice_may_have_been_delivered_twice(is_delivered):
    """QEMU has refused it, but may have completed first."""
    run = without(good("relayed"), END)
    packet = only(run, INCOMING, device="vfio1")[0]
    out = next(
        r for r in only(run, "packet_out", device="vfio1") if r.args.idx == packet.args["idx"]
    )
    again = [
        msgspec.structs.replace(each, t_ns=each.t_ns + 1)
        for each in ([packet, out] if is_delivered else [packet])
    ]
    finding = find(changed(run, [*run.records, *again]), "STA-3")
    assert finding.outcome is (Outcome.VALID if is_delivered else Outcome.VIOLATED)
    assert is_delivered or finding.shape == "packet-came-twice"


def test_packet_that_was_told_and_not_delivered():
    run = without(good("relayed"), END)
    outs = [r for r in only(run, "packet_out", device="vfio1") if r.args.idx == 4]
    finding = find(changed(run, [r for r in run.records if r not in outs]), "STA-3")
    assert "vfio1: packet 4 came in on channel" in finding.sentence
    assert "where none was delivered" in finding.sentence


def test_packets_of_unknown_channels_are_compared_by_index():
    run = without(good("relayed"), END)
    packets = only(run, INCOMING, device="vfio1")
    unknown = changed(run, swap(list(run.records), packets, channel=-1))
    assert find(unknown, "STA-3").outcome is Outcome.VALID
    told = drop(list(unknown.records), INCOMING, device="vfio1", idx=4)
    assert "packet 4 was delivered, and" in find(changed(unknown, told), "STA-3").sentence
