"""LIF-1: a missing packet is waited for, and taken when it comes late."""

import pytest

from harness.check.evidence import LOAD_END, STARVED
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record, Side
from tests.twins.damage import swap
from tests.unit.check.histories import changed, find, good, only, without
from tests.unit.check.relayed import Relayed, missing_packet, packet, whole
from tests.unit.check.story import SECOND, scenario


def test_missing_packet_that_is_waited_for():
    finding = find(good("missing packet"), "LIF-1")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the destination waits for packet 2 of vfio0, and answers"
    assert find(good("missing packet"), "RUN").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("alive", "dead"),
    [
        ({"main_loop_alive": False}, "main loop"),
        ({"monitor_alive": False}, "monitor"),
        ({"main_loop_alive": False, "monitor_alive": False}, "main loop and monitor"),
    ],
)
def test_destination_that_does_not_answer_while_it_waits(alive, dead):
    run = missing_packet(**alive)
    finding = find(run, "LIF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert f"and its {dead} does not answer" in finding.sentence
    assert [record.name for record in finding.evidence] == ["hung"]
    assert find(run, "RUN").outcome is Outcome.VALID


def test_wait_for_another_packet():
    run = good("missing packet")
    starved = swap(list(run.records), only(run, STARVED), idx=4)
    finding = find(changed(run, starved), "LIF-1")
    assert "packet 2 is missing, but the load thread waits for packet 4" in finding.sentence


@pytest.mark.parametrize(("came", "outcome"), [(False, Outcome.UNKNOWN), (True, Outcome.VIOLATED)])
def test_wait_for_a_packet_that_is_still_in_the_socket_is_right(came, outcome):
    """Wrong if LIF-1 blames a destination whose channels wait for a stalled main channel."""
    story = Relayed(scenario())
    story.send()
    story.fault("stall_main", idx=None)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    story.read(*([0, 1] if came else [0]))
    story.starve(1)
    finding = find(story.waits(), "LIF-1")
    assert finding.outcome is outcome, finding.sentence


def dropped():
    story = Relayed(scenario())
    story.send()
    story.fault("drop", idx=2)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    story.starve(2)
    return story


def test_destination_that_fails_instead_of_waiting():
    run = dropped().refused("vfio0: operation cancelled")
    assert "failed instead of waiting" in find(run, "LIF-1").sentence
    assert find(run, "RUN").outcome is Outcome.VIOLATED


def test_destination_that_completes_without_it():
    run = dropped().completed()
    assert "packet 2 of vfio0 never came" in find(run, "LIF-1").sentence
    assert find(run, "RUN").outcome is Outcome.VIOLATED


def test_destination_that_nobody_asked_is_unknown():
    assert find(without(dropped().waits(), "hung"), "LIF-1").outcome is Outcome.UNKNOWN


def test_wait_that_the_trace_does_not_tell_of_is_unknown():
    assert find(without(dropped().waits(), STARVED), "LIF-1").outcome is Outcome.UNKNOWN


# -- packets that come late --------------------------------------------------------------


def held(is_waited_for=True):
    story = Relayed(scenario())
    story.send()
    story.fault("hold", idx=2)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    if is_waited_for:
        story.starve(2)
    story.at += SECOND
    story.deliver(packet(2))
    return story


def test_late_packet_that_is_taken():
    finding = find(held().completed(), "LIF-1")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "vfio0: packet 2 came late, and the migration completed"
    assert finding.numbers["waited_s"] >= 1


def test_late_packet_that_is_not_taken():
    finding = find(held().waits(), "LIF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert [r.name for r in finding.evidence] == ["fault", STARVED, "packet_out", "deadline"]


@pytest.mark.parametrize(("before_s", "outcome"), [(0.5, Outcome.UNKNOWN), (2, Outcome.VIOLATED)])
def test_late_packet_of_a_transfer_that_is_slow(before_s, outcome):
    """Wrong if a busy machine, where the state still moves at the deadline, is blamed on QEMU."""
    run = held().waits()
    (deadline,) = [record for record in run.records if record.name == "deadline"]
    loaded = Record(
        deadline.t_ns - int(before_s * SECOND), Side.DESTINATION, Kind.TRACE, LOAD_END,
        {"idx": 1}, "vfio0",
    )  # fmt: skip
    records = sorted([*run.records, loaded], key=lambda record: record.t_ns)
    finding = find(changed(run, records), "LIF-1")
    assert finding.outcome is outcome, finding.sentence
    assert ("longer deadline_s" in finding.sentence) is (outcome is Outcome.UNKNOWN)


def test_held_packet_that_nobody_waited_for_is_not_asked():
    run = held(is_waited_for=False).completed()
    assert judge(run).not_applicable["LIF-1"] == "no packet that was held back was waited for"


@pytest.mark.parametrize(
    ("name", "why_not"),
    [
        ("multifd", "the scenario has no faults"),
        ("duplicate", "the destination does not wait for a packet: refused in load"),
    ],
)
def test_it_is_not_asked(name, why_not):
    assert judge(good(name)).not_applicable["LIF-1"] == why_not


@pytest.mark.parametrize(
    ("arrived", "outcome"), [(True, Outcome.UNKNOWN), (False, Outcome.VIOLATED)]
)
def test_wait_behind_a_packet_that_arrived_with_other_bytes(arrived, outcome):
    """Its stated size reached into what followed, which the relay does not record."""
    story = Relayed(scenario())
    story.send()
    story.fault("drop", idx=2)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    story.read(*([0, 1, 2] if arrived else [0, 1]))
    story.starve(3)
    finding = find(story.waits(), "LIF-1")
    assert finding.outcome is outcome, finding.sentence
