"""REF-12: the limit of queued bytes is kept, and below it has no effect."""

from harness.check.delivered import LIMIT
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import MIB
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import device, scenario

TEXT = "vfio0: queuing state buffer 3 would exceed the size max of 9"


def limited(limit, *packets):
    story = Relayed(scenario(device(properties={LIMIT: limit})))
    story.send()
    story.fault("hold")
    story.deliver(*packets)
    return story


def test_limit_that_is_kept():
    assert find(good("over the limit"), "REF-12").outcome is Outcome.VALID


def test_limit_that_is_ignored_while_a_packet_is_missing():
    finding = find(limited(2 * MIB, *whole()[1:]).waits(), "REF-12")
    assert finding.outcome is Outcome.VIOLATED


def test_limit_that_may_have_been_reached_is_not_asked_where_it_completes():
    run = limited(2 * MIB, *whole()).completed()
    assert "could matter no more, or may be taken" in judge(run).not_asked["REF-12"]


def test_limit_that_cannot_be_reached_has_no_effect():
    finding = find(limited(64 * MIB, *whole()).completed(), "REF-12")
    assert finding.sentence == "a limit that was not reached had no effect"


def test_limit_that_cannot_be_reached_is_told_as_the_reason():
    assert find(limited(64 * MIB, *whole()).refused(TEXT), "REF-12").outcome is Outcome.VIOLATED


def test_failure_for_another_reason_is_unknown():
    run = limited(64 * MIB, packet(1), *whole()).refused("vfio0: state buffer 1 already filled")
    assert find(run, "REF-12").outcome is Outcome.UNKNOWN


def test_device_without_a_limit_is_not_asked():
    assert judge(good("duplicate")).not_asked["REF-12"] == "no device has a limit of queued bytes"
