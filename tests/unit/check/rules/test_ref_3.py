"""REF-3: a packet shorter than its header is refused; 12 bytes are legal."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from tests.unit.check.histories import find
from tests.unit.check.relayed import Relayed, packet, refused, whole
from tests.unit.check.story import scenario


@pytest.mark.parametrize("size", [0, 1, 11])
def test_short_packet_that_is_refused(size):
    text = f"vfio0: packet too short at {size} (min is 12)"
    assert find(refused([packet(None, size)], text), "REF-3").outcome is Outcome.VALID


def test_short_packet_that_is_taken_for_a_duplicate():
    finding = find(refused([packet(None, 5)], "vfio0: state buffer 0 already filled"), "REF-3")
    assert "refused for something else" in finding.sentence


def test_packet_of_its_header_alone_is_not_asked_and_must_complete():
    story = Relayed(scenario())
    story.send()
    story.fault("truncate")
    story.deliver(*whole(packet(2, 0)))
    verdict = judge(story.refused("vfio0: packet too short at 12 (min is 12)"))
    assert verdict.finding("REF-3") is None
    assert "RUN" in verdict.with_outcome(Outcome.VIOLATED)
