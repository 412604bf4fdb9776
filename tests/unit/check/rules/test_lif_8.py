"""LIF-8: the destination's memory stays near what is queued, and returns to its start."""

import pytest

from harness.check.judge import judge
from harness.check.rules.lif_8 import KEPT_KIB, SLACK_KIB
from harness.check.run import INCOMING
from harness.check.verdict import Outcome
from harness.history import Kind
from harness.history.records import Record
from harness.scenario import MIB
from tests.unit.check.histories import changed, completed, find, good, only, without
from tests.unit.check.lives import measured
from tests.unit.check.relayed import with_relay
from tests.unit.check.story import DST, MS, SRC, device, scenario

KIB = 1024
STATE = scenario(device(size=64 * MIB))
RECEIVING = 4 * 1024  # KiB: four channels, buffers of 1 MiB


@pytest.mark.parametrize(
    ("grown", "outcome"),
    [
        (0, Outcome.VALID),
        (64 * KIB + RECEIVING + SLACK_KIB, Outcome.VALID),
        (64 * KIB + RECEIVING + SLACK_KIB + 1, Outcome.VIOLATED),
    ],
)
def test_whole_state_may_be_queued_where_nobody_saw_the_queue(grown, outcome):
    finding = find(measured(completed(STATE), grown), "LIF-8")
    assert finding.outcome is outcome
    assert finding.numbers == {
        "grown_kib": grown, "left_kib": 0, "queued_kib": 64 * KIB, "is_queue_seen": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("left", "outcome"),
    [(-500, Outcome.VALID), (KEPT_KIB, Outcome.VALID), (KEPT_KIB + 1, Outcome.VIOLATED)],
)
def test_memory_returns(left, outcome):
    finding = find(measured(completed(STATE), 30_000, left), "LIF-8")
    assert finding.outcome is outcome
    assert ("kept" in finding.sentence) is (outcome is Outcome.VIOLATED)


def written_at_once(run):
    """``run`` with a relay, its device taking each buffer as soon as it is there."""
    relayed = with_relay(run)
    last = max(record.args["idx"] for record in only(relayed, INCOMING))
    writes = [
        Record(packet.t_ns + MS // 1000, DST, Kind.DEVICE, "write",
               {"offset": 0, "asked": MIB, "got": packet.args["size"], "errno": 0}, "vfio0")
        for packet in only(relayed, "packet_out")
        if packet.args["idx"] != last
    ]  # fmt: skip
    return changed(relayed, [*relayed.records, *writes])


def test_queue_that_was_seen_is_the_bound():
    finding = find(measured(written_at_once(completed(STATE)), 20_000), "LIF-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_queue_seen"]
    assert finding.numbers["queued_kib"] == KIB


def test_memory_beyond_the_queue_that_was_seen():
    finding = find(measured(written_at_once(completed(STATE)), 60_000), "LIF-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "where 1024 KiB were queued at most" in finding.sentence
    assert [record.args["at"] for record in finding.evidence] == ["booted", "ended"]


def test_queues_of_several_devices_add_up():
    finding = find(measured(good("multifd"), 0), "LIF-8")
    assert finding.numbers["queued_kib"] == (24 * MIB + 3) // KIB


@pytest.mark.parametrize("keep", [0, 1])
def test_memory_that_was_not_measured_twice_is_not_asked(keep):
    run = measured(completed(STATE), 0)
    kept = [r for r in run.records if r.name == "memory"][:keep]
    run = changed(run, [*without(run, "memory").records, *kept])
    assert "not measured" in judge(run).not_asked["LIF-8"]


def test_the_source_s_memory_does_not_count():
    run = measured(completed(STATE), 0)
    much = {"hwm_kib": 9_000_000, "rss_kib": 9_000_000, "at": "ended"}
    more = Record(run.records[-1].t_ns, SRC, Kind.PROCESS, "memory", much)
    assert find(changed(run, [*run.records, more]), "LIF-8").outcome is Outcome.VALID
