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


def hello_of_channel_2(**fields):
    story = Relayed(scenario())
    right = {"magic": 0x11223344, "version": 1, "channel_id": 2, "uuid": "00" * 16}
    story.wire("hello_out", 2, **{**right, **fields})
    story.fault("hello", 2)
    return story


@pytest.mark.parametrize(
    "fields", [{"magic": 7}, {"version": 2}, {"uuid": "05" * 16}, {"channel_id": 0},
               {"channel_id": 200}],
)  # fmt: skip
def test_bad_hello(fields):
    refused_run = hello_of_channel_2(**fields).refused("multifd: received id '0' already setup'")
    finding = find(refused_run, "REF-10")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]
    finding = find(hello_of_channel_2(**fields).completed(), "REF-10")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.startswith("the hello of channel 2 ")


@pytest.mark.parametrize(
    "text",
    [
        "multifd: received id '4' already setup'",
        "multifd: received channel id 5 is greater than number of channels 4",
        "multifd: received uuid '05' and expected uuid '00' for channel 1",
        "unknown channel magic: 287454021",
    ],
)
def test_known_texts_about_hellos(text):
    numbers = find(hello_of_channel_2(channel_id=0).refused(text), "REF-10").numbers
    assert numbers["is_text_known"]


def test_known_text():
    assert find(good("magic"), "REF-10").numbers["is_text_known"]
