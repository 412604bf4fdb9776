"""LIF-2: channels that close before the state is whole are refused."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import scenario


def closed(*packets, kind="close_channel", channel=0):
    story = Relayed(scenario())
    story.send()
    story.fault(kind, channel)
    story.deliver(*packets)
    return story


@pytest.mark.parametrize("kind", ["close_channel", "cut_stream"])
@pytest.mark.parametrize("channel", [0, -1])
def test_closed_channel_that_makes_it_fail(kind, channel):
    run = closed(packet(0), kind=kind, channel=channel).refused("multifd: end of file")
    finding = find(run, "LIF-2")
    assert finding.outcome is Outcome.VALID
    assert f"channel {'main' if channel < 0 else channel} was closed" in finding.sentence


def test_closed_channel_that_is_waited_for():
    finding = find(closed(packet(0)).waits(), "LIF-2")
    assert finding.outcome is Outcome.VIOLATED
    assert [record.name for record in finding.evidence] == ["deadline"]


def test_closed_channel_that_does_not_matter_is_not_asked():
    assert judge(closed(*whole()).completed()).finding("LIF-2") is None


def test_state_that_is_not_whole_and_completes():
    finding = find(closed(packet(0), packet(1)).completed(), "LIF-2")
    assert finding.outcome is Outcome.VIOLATED


def test_run_without_closed_channels_is_not_asked():
    assert judge(good("duplicate")).finding("LIF-2") is None
