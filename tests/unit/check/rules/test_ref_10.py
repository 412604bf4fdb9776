"""REF-10: a damaged channel is refused."""

import pytest

from harness.check.verdict import Outcome
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, packet, refused, whole
from tests.unit.check.story import scenario


@pytest.mark.parametrize(
    "damaged",
    [
        packet(2, magic=1),
        packet(2, version=9),
        packet(2, flags=0x41),
        packet(2, flags=0x42),
        packet(2, flags=0),
        packet(2, next_packet_size=100),
        packet(2, next_packet_size=0xFFFFFFFF),
    ],
    ids=["magic", "version", "sync", "compression", "ram", "length below", "length beyond"],
)
def test_damaged_channel(damaged):
    assert find(refused(whole(damaged), "multifd: no"), "REF-10").outcome is Outcome.VALID
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(*whole(damaged))
    finding = find(story.completed(), "REF-10")
    assert finding.outcome is Outcome.VIOLATED
    assert "it must be refused, but the destination completed" in finding.sentence


def test_known_text():
    assert find(good("magic"), "REF-10").numbers["is_text_known"]
