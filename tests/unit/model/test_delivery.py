"""What is wrong with one packet, by itself."""

import msgspec
import pytest

from harness.model.delivery import (
    FAR,
    INVALID_IDX,
    Effect,
    Hello,
    Sent,
    bad_hellos,
    config_defect,
    defects,
    leaves_rest,
)
from tests.unit.model.deliveries import SENT, complete, config, data, delivery

REFUSED, STUCK, OPEN = Effect.REFUSED, Effect.STUCK, Effect.OPEN


def found(packet, **fields):
    """Requirement and effect of each defect."""
    given = delivery(packet, **fields)
    return [(each.reason.requirement, each.effect) for each in defects(given.packets[0], given)]


@pytest.mark.parametrize("packet", [*complete(), data(0, size=0)])
def test_packets_of_qemu_and_an_empty_one_have_nothing_wrong(packet):
    assert found(packet) == []


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (data(1, magic=7), ("REF-10", REFUSED)),
        (data(1, version=2), ("REF-10", REFUSED)),
        (data(1, flags=0x41), ("REF-10", REFUSED)),
        (data(1, flags=0x42), ("REF-10", REFUSED)),
        (data(1, flags=0, size=2000), ("REF-10", REFUSED)),
        (data(1, flags=0, size=1000), ("REF-10", STUCK)),
        (data(1, next_packet_size=1013), ("REF-10", STUCK)),
        (data(1, next_packet_size=0xFFFFFFFF), ("REF-10", STUCK)),
        (data(1, state_flags=2), ("REF-10", OPEN)),
        (data(1, device=""), ("REF-9", REFUSED)),
        (data(1, instance_id=1), ("REF-9", REFUSED)),
        (data(1, device="b"), ("REF-2", REFUSED)),
        (data(None, size=11), ("REF-3", REFUSED)),
        (data(1, next_packet_size=11), ("REF-3", REFUSED)),
        (data(1, state_version=1), ("REF-4", REFUSED)),
        (data(INVALID_IDX), ("REF-5", REFUSED)),
        (data(FAR + 5), ("REF-6", OPEN)),
        (data(INVALID_IDX - 1), ("REF-6", OPEN)),
    ],
)
def test_one_wrong_field_is_one_defect(packet, expected):
    assert found(packet) == [expected]


def test_index_that_is_not_far_is_nothing_by_itself():
    assert found(data(FAR + 4)) == []


def test_all_that_is_wrong_is_reported_in_the_order_in_which_it_is_read():
    packet = data(INVALID_IDX, magic=1, instance_id=9, state_version=3)
    assert [name for name, _ in found(packet)] == ["REF-10", "REF-9", "REF-4", "REF-5"]


@pytest.mark.parametrize("packet", [data(None, size=5), data(INVALID_IDX), data(1, device="")])
def test_of_a_packet_that_reads_into_the_next_one_no_more_is_reported(packet):
    eating = msgspec.structs.replace(packet, next_packet_size=5000)
    assert found(eating) == [("REF-10", STUCK)]


def test_stated_length_below_the_true_one_is_no_defect_of_the_packet():
    packet = data(1, next_packet_size=500)
    assert found(packet) == []
    assert leaves_rest(packet)


@pytest.mark.parametrize("packet", [data(1), data(1, next_packet_size=1013)])
def test_nothing_is_left_behind_a_length_that_is_true_or_too_large(packet):
    assert not leaves_rest(packet)


@pytest.mark.parametrize(
    ("packet", "has_device"),
    [
        (data(1, magic=7), False),
        (data(1, instance_id=1), False),
        (data(1, state_version=1), True),
        (data(None, size=3), True),
    ],
)
def test_reason_names_the_device_where_it_concerns_one(packet, has_device):
    given = delivery(packet)
    (defect,) = defects(given.packets[0], given)
    assert defect.reason.device == ("a" if has_device else "")
    assert defect.reason.number == 0
    assert defect.reason.idx == packet.idx


def test_idstr_without_an_end_is_distinguished():
    given = delivery(data(1, device="", has_idstr_end=False))
    (defect,) = defects(given.packets[0], given)
    assert defect.reason.words == "its idstr is not terminated"


# -- the configuration -------------------------------------------------------------------


def test_configuration_as_it_was_sent_is_right():
    assert config_defect(config(), SENT) is None


@pytest.mark.parametrize(
    ("packet", "words", "effect"),
    [
        (config(marker="ffffffffef100003"), "begins with ffffffffef100003", REFUSED),
        (config(marker="", size=0), "begins with nothing", REFUSED),
        (config(size=299), "has 299 bytes, not 300", REFUSED),
        (config(size=301), "has 301 bytes, not 300", REFUSED),
        (config(next_packet_size=112), "has 100 bytes, not 300", REFUSED),
        (config(digest="d"), "were changed", OPEN),
    ],
)
def test_configuration_that_is_not(packet, words, effect):
    defect = config_defect(packet, SENT)
    assert defect is not None
    assert words in defect.reason.words
    assert defect.effect is effect
    assert defect.reason.requirement == "REF-8"


def test_configuration_of_a_device_that_sent_none_has_nothing_to_be_compared_with():
    assert config_defect(config(size=7), Sent()) is None


@pytest.mark.parametrize(
    ("sent", "is_whole"),
    [
        (SENT, True),
        (Sent(), False),
        (Sent(indices=frozenset({0, 1, 3}), config_idx=3), False),
        (Sent(indices=frozenset({0}), config_idx=0), True),
    ],
)
def test_state_is_complete_with_every_packet_up_to_the_configuration(sent, is_whole):
    assert sent.is_whole is is_whole


# -- hellos ------------------------------------------------------------------------------


def words_of(*hellos):
    """What is wrong with the hellos of four channels."""
    given = delivery(*complete(), channels=4, hellos=tuple(hellos))
    return [reason.words for reason in bad_hellos(given)]


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        (Hello(channel=1, channel_id=1, magic=7), "has a wrong magic, version or uuid"),
        (Hello(channel=1, channel_id=1, version=2), "has a wrong magic, version or uuid"),
        (Hello(channel=1, channel_id=1, uuid="05" * 16), "has a wrong magic, version or uuid"),
        (Hello(channel=1, channel_id=4), "has number 4 of 4 channels"),
        (Hello(channel=1, channel_id=255), "has number 255 of 4 channels"),
        (Hello(channel=1, channel_id=0), "has number 0, which is taken"),
    ],
)
def test_bad_hello(hello, words):
    assert words_of(hello) == [f"the hello of channel 1 {words}"]


def test_two_channels_that_swap_their_numbers_are_right():
    assert words_of(Hello(channel=0, channel_id=1), Hello(channel=1, channel_id=0)) == []


def test_two_channels_that_take_the_same_number_are_both_wrong():
    assert len(words_of(Hello(channel=0, channel_id=3), Hello(channel=3, channel_id=3))) == 2


def test_reason_about_a_hello_names_its_channel():
    given = delivery(channels=1, hellos=(Hello(channel=0, channel_id=9),))
    (reason,) = bad_hellos(given)
    assert (reason.requirement, reason.channel, reason.number) == ("REF-10", 0, -1)
