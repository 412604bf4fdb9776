"""REF-1: a second packet with one index is refused."""

import pytest

from harness.check.judge import judge
from harness.check.run import CONFIG_START
from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import DST, scenario


def accepted(*packets):
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*packets)
    return story.completed()


def test_duplicate_that_is_refused():
    assert find(good("duplicate"), "REF-1").outcome is Outcome.VALID


@pytest.mark.parametrize("idx", [0, 2, 3])
def test_duplicate_that_is_taken(idx):
    finding = find(accepted(packet(idx), *whole()), "REF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert f"packet {idx} of vfio0 on channel 0: its index comes twice" in finding.sentence
    assert [record.name for record in finding.evidence] == ["packet_out", "MIGRATION"]


def test_duplicate_behind_all_others_that_the_destination_told_of_is_taken():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*whole(), packet(3))
    story.read(0, 1, 2, 3, 4, 3)
    story.trace(DST, CONFIG_START, "vfio0")
    finding = find(story.completed(), "REF-1")
    assert finding.outcome is Outcome.VIOLATED


def test_whole_state_is_not_asked():
    assert judge(accepted(*whole())).finding("REF-1") is None
