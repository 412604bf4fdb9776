"""ORD-3: asleep while it waits; receiving while it writes."""

import pytest

from harness.check.evidence import INCOMING, STARVED
from harness.check.verdict import Outcome
from harness.scenario import MIB, LoadBehaviour
from tests.twins.damage import change, one
from tests.twins.transfer import deaf_while_writing
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
from tests.unit.check.story import US


def slow(size: int = 32 * MIB, delay_s: float = 0.3, **fields):
    return completed(
        scenario(device(size=size, load=LoadBehaviour(write_delay_s=delay_s)), **fields)
    )


def deaf(run):
    return changed(run, deaf_while_writing(list(run.records)))


def starving(times: int, idx: int = 3, packets: int = 0):
    """Packet ``idx`` is waited for ``times`` times, while ``packets`` others come in."""
    run = good("multifd")
    starved = one(run.records, STARVED, device="vfio0")
    more = [change(starved, t_ns=starved.t_ns + n * US, idx=idx) for n in range(times)]
    packet = only(run, INCOMING, device="vfio0")[0]
    others = [change(packet, t_ns=starved.t_ns + n * US, idx=1000 + n) for n in range(packets)]
    return changed(run, [*run.records, *more, *others])


def test_good_run_counts_what_it_saw():
    finding = find(good("multifd"), "ORD-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["starved"] > 10
    assert finding.numbers["slow_devices"] == 0


# -- waiting -----------------------------------------------------------------------------


def test_busy_loop():
    finding = find(starving(5000), "ORD-3")
    assert finding.outcome is Outcome.VIOLATED
    assert "woke up 5000 times" in finding.sentence
    assert "while it waited for packet 3" in finding.sentence
    assert finding.numbers["starved"] == 5000
    assert [record.name for record in finding.evidence] == [STARVED, STARVED]


@pytest.mark.parametrize(
    ("times", "packets", "outcome"),
    [
        (30, 0, Outcome.VALID),
        (300, 300, Outcome.VALID),
        (300, 0, Outcome.VIOLATED),
        (600, 300, Outcome.VIOLATED),
    ],
)
def test_each_packet_may_wake_it_once(times, packets, outcome):
    assert find(starving(times, packets=packets), "ORD-3").outcome is outcome


def test_waits_for_many_packets_do_not_add_up():
    run = good("multifd")
    starved = one(run.records, STARVED, device="vfio0")
    more = [change(starved, idx=n) for n in range(2000)]
    assert find(changed(run, [*run.records, *more]), "ORD-3").outcome is Outcome.VALID


def test_without_a_load_thread_nothing_is_known():
    run = without(good("no data"), "vfio_load_bufs_thread_start", STARVED)
    assert find(run, "ORD-3").outcome is Outcome.UNKNOWN


# -- writing -----------------------------------------------------------------------------


def test_slow_device_is_asked_and_proved():
    finding = find(good("slow"), "ORD-3")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["slow_devices"] == 1
    assert finding.numbers["received_while_writing"] >= 1
    assert "packets were received while it wrote" in finding.sentence


def test_lock_held_over_the_write():
    finding = find(deaf(good("slow")), "ORD-3")
    assert finding.outcome is Outcome.VIOLATED
    assert "no channel received a second packet" in finding.sentence
    start, end, after = finding.evidence
    assert start.t_ns < end.t_ns < after.t_ns
    assert after.name == INCOMING


@pytest.mark.parametrize(
    "run",
    [
        slow(3 * MIB),
        deaf(slow(32 * MIB, delay_s=0.03)),
        deaf(slow(12 * MIB)),
        deaf(slow(32 * MIB, channels=16)),
    ],
    ids=["few packets", "short loads", "few loads", "many channels"],
)
def test_too_little_to_tell_is_unknown_or_proved(run):
    """Never VIOLATED: the source may have been slow."""
    assert find(run, "ORD-3").outcome in (Outcome.UNKNOWN, Outcome.VALID)
    assert find(run, "ORD-3").outcome is not Outcome.VIOLATED


def test_source_that_is_as_slow_is_not_blamed_on_the_lock():
    """One packet in the middle of each load: nothing is held up, and nothing is proved."""
    run = good("slow")
    starts = only(run, "vfio_load_state_device_buffer_load_start")
    packets = sorted(only(run, INCOMING), key=lambda record: record.args["idx"])
    steady = [
        change(packet, t_ns=starts[max(0, at - 1)].t_ns + (150_000_000 if at else -1000))
        for at, packet in enumerate(packets)
    ]
    others = [record for record in run.records if record.name != INCOMING]
    finding = find(changed(run, [*others, *steady]), "ORD-3")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.numbers["received_while_writing"] == 0


def test_one_proof_outweighs_all_suspicion():
    run = deaf(good("slow"))
    start = only(run, "vfio_load_state_device_buffer_load_start")[2]
    packet = only(run, INCOMING)[-1]
    pair = [change(packet, t_ns=start.t_ns + n * US, tid=999, idx=900 + n) for n in (5, 6)]
    assert find(changed(run, [*run.records, *pair]), "ORD-3").outcome is Outcome.VALID
