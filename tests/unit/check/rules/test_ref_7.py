"""REF-7: a configuration that is not the last packet is refused."""

import pytest

from harness.check.judge import judge
from harness.check.run import CONFIG_START
from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, config, packet, refused, whole
from tests.unit.check.story import DST, scenario

SECOND = [packet(0), packet(1), config(2), packet(3), config(4)]
BELOW = [packet(0), packet(1), packet(3), config(2)]
ABOVE = [packet(7), *whole()]
TAKEN = [*whole()[:4], config(3), config(4)]


@pytest.mark.parametrize("packets", [BELOW, ABOVE, TAKEN], ids=["below", "above", "taken"])
def test_configuration_that_is_refused(packets):
    run = refused(packets, "vfio0: config state packet must be the last one")
    assert find(run, "REF-7").outcome is Outcome.VALID


@pytest.mark.parametrize("packets", [BELOW, ABOVE, TAKEN], ids=["below", "above", "taken"])
def test_configuration_that_is_taken(packets):
    story = Relayed(scenario())
    story.send()
    story.fault("inject")
    story.deliver(*packets)
    finding = find(story.completed(), "REF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "configuration" in finding.sentence


def test_data_behind_an_early_end_that_the_destination_told_of():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(*SECOND)
    assert judge(story.completed()).finding("REF-7") is None
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(*SECOND)
    story.read(0, 1, 2, 3)
    story.trace(DST, CONFIG_START, "vfio0")
    assert find(story.completed(), "REF-7").outcome is Outcome.VIOLATED


def test_duplicate_configuration_is_refused_as_filled():
    run = refused([*whole(), config(4)], "vfio0: state buffer 4 already filled")
    assert find(run, "REF-7").outcome is Outcome.VALID
    assert find(run, "REF-1").outcome is Outcome.VALID
    assert find(good("two configurations"), "REF-7").outcome is Outcome.VALID
