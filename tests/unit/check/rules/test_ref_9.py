"""REF-9: a packet for an unknown device is refused."""

from harness.check.judge import judge
from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, refused, whole
from tests.unit.check.story import scenario


def to(idstr, text):
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(0, idstr=idstr.hex()), of="")
    return story.refused(text)


def test_unknown_idstr_that_is_refused():
    finding = find(good("unknown idstr"), "REF-9")
    assert finding.outcome is Outcome.VALID
    assert "its idstr is unknown" in finding.sentence


def test_idstr_without_an_end_that_is_refused():
    finding = find(to(b"x" * 256, "unterminated multifd device state idstr"), "REF-9")
    assert finding.outcome is Outcome.VALID
    assert "its idstr is not terminated" in finding.sentence


def test_wrong_instance_that_is_refused_for_another_reason():
    run = refused(whole(packet(1, instance_id=7)), "vfio0: packet index is invalid")
    assert find(run, "REF-9").outcome is Outcome.VIOLATED


def test_wrong_instance_that_is_refused():
    text = "Unknown idstr 0000:00:02.0/vfio or instance id 7 for load state buffer"
    run = refused(whole(packet(1, instance_id=7)), text)
    assert find(run, "REF-9").outcome is Outcome.VALID
    assert "concern no device" in judge(run).not_asked["REF-11"]
