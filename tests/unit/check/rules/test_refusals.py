"""What must be refused, requirement by requirement; ``test_refusal`` has how."""

import pytest

from harness.check.evidence import CONFIG_START
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.wire import HelloOut
from harness.scenario import OnOffAuto
from tests.unit.check.histories import find, good
from tests.unit.check.relayed import Relayed, config, packet, refused, whole
from tests.unit.check.story import DST, device, scenario

# -- REF-1 ------------------------------------------------------------------------------


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


# -- REF-2 ------------------------------------------------------------------------------


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


# -- REF-3 ------------------------------------------------------------------------------


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


# -- REF-4 ------------------------------------------------------------------------------


def test_unknown_version_is_refused():
    finding = find(good("version"), "REF-4")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def test_refusal_that_is_about_the_index_before_it_is_none():
    run = refused([packet(0), packet(1, state_version=9)], "vfio0: state buffer 0 already filled")
    assert find(run, "REF-4").outcome is Outcome.VIOLATED


def test_unknown_version_is_never_waited_over():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(1, state_version=9))
    assert find(story.waits(), "REF-4").outcome is Outcome.VIOLATED


# -- REF-5 ------------------------------------------------------------------------------


def test_largest_index_is_refused():
    finding = find(good("invalid index"), "REF-5")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def test_refusal_that_is_about_an_index_before_the_largest_is_none():
    run = refused([packet(0), packet(0xFFFFFFFF)], "vfio0: state buffer 0 already filled")
    assert find(run, "REF-5").outcome is Outcome.VIOLATED


def test_largest_index_is_never_waited_over():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(0xFFFFFFFF))
    assert find(story.waits(), "REF-5").outcome is Outcome.VIOLATED


# -- REF-7 ------------------------------------------------------------------------------


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


# -- REF-8 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (config(4, marker="00" * 8), "vfio0: expected FLAG_DEV_CONFIG_STATE but got 0"),
        (config(4, size=100), "vfio0: vfio_load_device_config_state() failed: -22"),
        (config(4, size=5000), "vfio0: Failed loading device config space, end flag incorrect"),
        (config(4, digest="d"), "vfio0: vfio_load_device_config_state() failed: -22"),
    ],
    ids=["marker", "short", "long", "changed"],
)
def test_damaged_configuration_that_is_refused(damaged, text):
    finding = find(refused(whole(damaged), text), "REF-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["is_text_known"]


def loaded(damaged):
    story = Relayed(scenario())
    story.send()
    story.fault("flip")
    story.deliver(*whole(damaged))
    return story.completed()


@pytest.mark.parametrize("size", [100, 5000])
def test_configuration_of_another_length_that_is_loaded(size):
    finding = find(loaded(config(4, size=size)), "REF-8")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the configuration has {size} bytes" in finding.sentence


def test_changed_bytes_that_are_loaded_are_not_asked():
    assert judge(loaded(config(4, digest="d"))).finding("REF-8") is None


def test_right_configuration_is_not_asked():
    assert judge(good("duplicate")).finding("REF-8") is None


# -- REF-9 ------------------------------------------------------------------------------


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
    assert "concern no device" in judge(run).not_applicable["REF-11"]


# -- REF-10 -----------------------------------------------------------------------------


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
    story.wire(HelloOut(**{**right, **fields}), 2)
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


# -- LIF-2 ------------------------------------------------------------------------------


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
