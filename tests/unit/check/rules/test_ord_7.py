"""ORD-7: device state spreads over the channels."""

import pytest

from harness.check.evidence import INCOMING
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.scenario import MIB, OnOffAuto
from tests.twins.damage import first_device, one, recount, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    changed,
    completed,
    device,
    find,
    good,
    only,
    scenario,
    without,
)


@twin("ORD-7")
def all_on_one_channel(records: list[Record]) -> list[Record]:
    packets = some(records, INCOMING)
    first = one(records, INCOMING, device=first_device(records), idx=16)
    return recount(records, swap(records, packets, channel=first.channel, tid=first.tid))


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (good("one channel"), "one channel only"),
        (completed(scenario(device(size=7 * MIB))), "no device with 8 packets or more"),
        (
            completed(scenario(device(multifd_transfer=OnOffAuto.OFF)), main=("vfio0",)),
            "no device's state goes over multifd",
        ),
        (good("pre-copy"), "no device with 8 packets or more"),
    ],
)
def test_not_asked(run, why):
    assert judge(run).not_applicable["ORD-7"] == why


def test_spread_is_told():
    finding = find(good("multifd"), "ORD-7")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["packets_by_channel"] == {"vfio0": {"0": 6, "1": 6, "2": 5, "3": 5}}


def test_all_on_one_channel():
    run = good("multifd")
    finding = find(changed(run, all_on_one_channel(list(run.records))), "ORD-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio0: all 22 packets came in on channel" in finding.sentence
    assert len(finding.evidence) == 2


def test_other_channels_that_hold_packets_of_another_device_may_be_busy():
    """Seen of a right QEMU, whose other channel threads got no processor."""
    run = good("multifd")
    alone = swap(list(run.records), only(run, INCOMING, device="vfio0"), channel=3)
    assert find(changed(run, alone), "ORD-7").outcome is Outcome.VALID


def test_two_channels_of_four_are_a_spread():
    run = good("multifd")
    packets = only(run, INCOMING, device="vfio0")
    two = swap(swap(list(run.records), packets[:9], channel=0), packets[9:], channel=3)
    assert find(changed(run, two), "ORD-7").outcome is Outcome.VALID


def test_few_packets_on_one_channel_prove_nothing():
    """The other channels may be busy with RAM."""
    run = completed(scenario(device(size=8 * MIB)))
    finding = find(changed(run, swap(list(run.records), only(run, INCOMING), channel=2)), "ORD-7")
    assert finding.outcome is Outcome.UNKNOWN
    assert "too few to show" in finding.sentence


def test_small_device_beside_a_large_one_is_not_judged():
    run = good("multifd")
    small = swap(list(run.records), only(run, INCOMING, device="vfio1"), channel=0)
    assert find(changed(run, small), "ORD-7").outcome is Outcome.VALID


def test_channel_that_is_not_known():
    run = good("multifd")
    lost = swap(list(run.records), only(run, INCOMING, device="vfio0")[:1], channel=-1)
    finding = find(changed(run, lost), "ORD-7")
    assert finding.outcome is Outcome.UNKNOWN
    assert "the channel of a packet is not known" in finding.sentence


def test_no_packet_is_unknown():
    assert find(without(good("multifd"), INCOMING), "ORD-7").outcome is Outcome.UNKNOWN


def test_spread_is_judged_as_the_source_sent_it():
    run = good("relayed")
    moved = swap(list(run.records), only(run, INCOMING), channel=0)
    assert find(changed(run, moved), "ORD-7").outcome is Outcome.VALID
    alone = swap(list(run.records), only(run, "packet_in"), channel=3)
    finding = find(changed(run, alone), "ORD-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "came in on channel 3" in finding.sentence
