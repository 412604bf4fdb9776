"""REF-4: a packet of an unknown version is refused."""

from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, refused
from tests.unit.check.story import scenario


def test_it_is_refused():
    finding = find(good("version"), "REF-4")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def test_refusal_that_is_about_the_index_before_it_is_none():
    run = refused([packet(0), packet(1, state_version=9)], "vfio0: state buffer 0 already filled")
    assert find(run, "REF-4").outcome is Outcome.VIOLATED


def test_it_is_never_waited_over():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(1, state_version=9))
    assert find(story.waits(), "REF-4").outcome is Outcome.VIOLATED
