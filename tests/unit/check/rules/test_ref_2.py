"""REF-2: a packet for a device on the main channel is refused."""

from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import device, scenario


def test_packet_for_the_main_channel_that_is_refused():
    finding = find(good("foreign device"), "REF-2")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence.startswith("packet 0 of vfio1 on channel 0: its device does not use")


def test_packet_for_the_main_channel_that_is_waited_over():
    story = Relayed(scenario(device(), device("b", seed=2, multifd_transfer=OnOffAuto.OFF)))
    story.send()
    story.fault("inject")
    story.deliver(packet(0), of="b")
    story.deliver(*whole())
    finding = find(story.waits(), "REF-2")
    assert finding.outcome is Outcome.VIOLATED
