"""REF-5: index 0xFFFFFFFF is refused."""

from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, refused
from tests.unit.check.story import scenario


def test_it_is_refused():
    finding = find(good("invalid index"), "REF-5")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def test_refusal_that_is_about_the_index_before_it_is_none():
    run = refused([packet(0), packet(0xFFFFFFFF)], "vfio0: state buffer 0 already filled")
    assert find(run, "REF-5").outcome is Outcome.VIOLATED


def test_it_is_never_waited_over():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(0xFFFFFFFF))
    assert find(story.waits(), "REF-5").outcome is Outcome.VIOLATED
