"""LIF-8: the destination's memory stays near what is queued; a large state is given back."""

import pytest

from harness.check.evidence import INCOMING
from harness.check.judge import judge
from harness.check.rules.lif_8 import KEPT_KIB, KEPT_PER_CHANNEL_KIB, SLACK_KIB
from harness.check.verdict import Outcome
from harness.history.device import Write
from harness.history.process import Memory
from harness.history.records import Record
from harness.scenario import MIB
from tests.unit.check.histories import changed, completed, evidence_of, find, good, only, without
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
    numbers = {**finding.numbers}
    assert numbers.pop("returned", "yes") == "yes"
    assert numbers == {
        "grown_kib": grown, "left_kib": 0, "queued_kib": 64 * KIB, "is_queue_seen": False,
    }  # fmt: skip


KEPT = KEPT_KIB + 4 * KEPT_PER_CHANNEL_KIB


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        (-500, Outcome.VALID),
        (KEPT, Outcome.VALID),
        (KEPT + 1, Outcome.UNKNOWN),
        (48 * KIB, Outcome.UNKNOWN),
        (48 * KIB + 1, Outcome.VIOLATED),
        (64 * KIB, Outcome.VIOLATED),
    ],
)
def test_large_state_is_given_back(left, outcome):
    """64 MiB over 4 channels, of which the allocator may keep 16."""
    finding = find(measured(completed(STATE), 30_000, left), "LIF-8")
    assert finding.outcome is outcome
    assert ("and was freed" in finding.sentence) is (outcome is Outcome.VALID)
    assert ("did not free" in finding.sentence) is (outcome is Outcome.VIOLATED)


@pytest.mark.parametrize("left", [0, 16100, 16384])
def test_of_a_small_state_nothing_is_claimed(left):
    """All of 16 MiB may stay in the allocator's arenas."""
    run = completed(scenario(device(size=16 * MIB)))
    finding = find(measured(run, 20_000, left), "LIF-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["returned"] == "cannot be determined"
    assert "too few to distinguish a leak" in finding.sentence
    assert "given back" not in finding.sentence


@pytest.mark.parametrize(("channels", "is_told"), [(1, True), (4, True), (16, False)])
def test_channels_have_an_arena_each(channels, is_told):
    run = completed(scenario(device(size=64 * MIB), channels=channels))
    finding = find(measured(run, 20_000, 0), "LIF-8")
    assert (finding.numbers["returned"] == "yes") is is_told


def test_bytes_of_pre_copy_were_never_queued():
    spec = device(size=16 * MIB, pre_copy=True, precopy_initial_bytes=64 * MIB)
    finding = find(measured(completed(scenario(spec)), 20_000, 0), "LIF-8")
    assert finding.numbers["returned"] == "cannot be determined"


def written_at_once(run):
    """``run`` with a relay, its device taking each buffer as soon as it is there."""
    relayed = with_relay(run)
    last = max(record.args["idx"] for record in only(relayed, INCOMING))
    writes = [
        Record.of(
            packet.t_ns + MS // 1000,
            DST,
            Write(offset=0, asked=MIB, got=packet.args.size, errno=0),
            "vfio0",
        )
        for packet in only(relayed, "packet_out")
        if packet.args.idx != last
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
    assert [record.args.at for record in evidence_of(finding)] == ["booted", "ended"]


def test_queues_of_several_devices_add_up():
    finding = find(measured(good("multifd"), 0), "LIF-8")
    assert finding.numbers["queued_kib"] == (24 * MIB + 3) // KIB


@pytest.mark.parametrize("keep", [0, 1])
def test_memory_that_was_not_measured_twice_is_not_asked(keep):
    run = measured(completed(STATE), 0)
    kept = [r for r in run.records if r.name == "memory"][:keep]
    run = changed(run, [*without(run, "memory").records, *kept])
    assert "not measured" in judge(run).not_applicable["LIF-8"]


def test_the_source_s_memory_does_not_count():
    run = measured(completed(STATE), 0)
    much = Memory(hwm_kib=9_000_000, rss_kib=9_000_000, at="ended")
    more = Record.of(run.records[-1].t_ns, SRC, much)
    assert find(changed(run, [*run.records, more]), "LIF-8").outcome is Outcome.VALID
