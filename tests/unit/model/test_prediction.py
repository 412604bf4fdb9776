"""What must follow from what was delivered, whatever the order between channels."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.delivery import FAR, INVALID_IDX, Hello, Piece, Sent
from harness.model.prediction import SURE_NS, Outcome, predict
from tests.unit.model.deliveries import SECOND, SENT, complete, config, data, delivery

COMPLETED, REFUSED, WAITING = Outcome.COMPLETED, Outcome.REFUSED, Outcome.WAITING


def why(prediction):
    """Requirements of its reasons, each once."""
    return sorted({reason.requirement for reason in prediction.reasons})


def predicted(*packets, **fields):
    """All that is allowed, and the requirements that a refusal may be for."""
    prediction = predict(delivery(*packets, **fields))
    return set(prediction.allowed), why(prediction)


# -- hellos ------------------------------------------------------------------------------


@pytest.mark.parametrize("packets", [(), complete()])
def test_bad_hello_is_refused_whatever_comes_after_it(packets):
    hello = Hello(channel=0, channel_id=4)
    assert predicted(*packets, channels=4, hellos=(hello,)) == ({REFUSED}, ["REF-10"])


def test_swapped_hellos_change_nothing():
    swapped = Hello(channel=0, channel_id=1), Hello(channel=1, channel_id=0)
    assert predicted(*complete(), channels=2, hellos=swapped) == ({COMPLETED}, [])


# -- nothing wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(complete()))[::7])
def test_complete_state_completes_in_any_order(order):
    assert predicted(*order) == ({COMPLETED}, [])


# -- which damage it is ----------------------------------------------------------------------


def kinds(*packets, **fields):
    """Kinds of the reasons, by requirement."""
    found: dict[str, set[str]] = {}
    for reason in predict(delivery(*packets, **fields)).reasons:
        found.setdefault(reason.requirement, set()).add(reason.kind)
    return found


ALL = complete()
LAST = max(packet.idx for packet in ALL)
MISPLACED = {
    "configuration-below-data": [*[p for p in ALL[:-1] if p.idx != 2], config(2)],
    "data-above-configuration": [*ALL[:-1], data(LAST + 1), ALL[-1]],
    "data-after-configuration": [*ALL, data(LAST + 1)],
    "second-configuration-above": [*ALL, config(LAST + 1)],
    "second-configuration-below": [*ALL[:-1], config(LAST + 1), ALL[-1]],
    "configuration-twice": [*ALL, ALL[-1]],
    "configuration-on-taken-index": [*ALL[:-1], config(1), ALL[-1]],
}


@pytest.mark.parametrize("kind", MISPLACED)
def test_each_misplaced_configuration_is_a_kind_of_its_own(kind):
    found = kinds(*MISPLACED[kind])["REF-7"]
    assert kind in found
    # One on an index of data has data and the other configuration above it, too.
    above = {"configuration-below-data", "second-configuration-above"}
    assert found <= {kind, *(above if kind.endswith("index") else ())}


def test_unknown_flags_are_distinguished_from_those_that_qemu_refuses():
    assert kinds(*complete(data(1, flags=0x80000040)))["REF-10"] == {"unknown-flags"}
    assert kinds(*complete(data(1, flags=0x41)))["REF-10"] == {"sync-flag"}


@pytest.mark.parametrize(
    ("number", "kind"),
    [(4, "hello-number-of-channels"), (5, "hello-number-too-high"), (1, "hello-number-taken")],
)
def test_hello_whose_number_is_that_of_the_channels_is_a_kind_of_its_own(number, kind):
    hello = Hello(channel=0, channel_id=number)
    assert kinds(*ALL, channels=4, hellos=(hello,)) == {"REF-10": {kind}}


@pytest.mark.parametrize(
    ("size", "kind"), [(301, "configuration-too-long"), (299, "configuration-cut-short")]
)
def test_configuration_that_is_longer_or_shorter_is_distinguished(size, kind):
    assert kinds(*ALL[:-1], config(LAST, size=size))["REF-8"] == {kind}


@pytest.mark.parametrize(
    "packet", [data(2, size=0), data(2, digest="other"), data(2, size=17)],
    ids=["empty", "flipped", "cut short"],
)  # fmt: skip
def test_data_that_cannot_be_distinguished_from_right_data_completes(packet):
    assert predicted(*complete(packet)) == ({COMPLETED}, [])


def test_no_data_at_all_is_a_configuration_alone():
    sent = Sent(indices=frozenset({0}), config_idx=0, config_size=300, config_digest="c")
    assert predicted(config(0), sent={"a": sent}) == ({COMPLETED}, [])


def test_state_that_was_cut_anew_completes():
    assert predicted(data(0), data(1), config(2)) == ({COMPLETED}, [])


def test_two_devices_have_their_own_indices():
    packets = [*complete(), *complete(of="b", channel=1)]
    fields = {"sent": {"a": SENT, "b": SENT}, "multifd_devices": ("a", "b")}
    assert predicted(*packets, **fields) == ({COMPLETED}, [])
    assert predicted(*packets[:-2], packets[-1], **fields) == ({WAITING}, [])


# -- waiting -----------------------------------------------------------------------------


@pytest.mark.parametrize("idx", range(5))
def test_missing_packet_is_waited_for(idx):
    prediction = predict(delivery(*(p for p in complete() if p.idx != idx)))
    assert prediction.outcome is WAITING
    assert prediction.waits_for == {"a": idx}


def test_the_first_of_several_is_waited_for():
    assert predict(delivery(data(0), data(3))).waits_for == {"a": 1}


def test_device_of_which_nothing_came_waits_for_its_first():
    assert predict(delivery()).waits_for == {"a": 0}


def test_configuration_that_lost_its_flag_makes_it_wait_for_the_next_index():
    assert predict(delivery(*complete(config(4, state_flags=0)))).waits_for == {"a": 5}


def test_only_the_device_that_lacks_something_waits():
    packets = [*complete(), *complete(of="b")[:-1]]
    fields = {"sent": {"a": SENT, "b": SENT}, "multifd_devices": ("a", "b")}
    assert predict(delivery(*packets, **fields)).waits_for == {"b": 4}


def test_what_the_source_never_sent_is_owed_and_not_waited_for():
    sent = Sent(indices=frozenset({0, 1}))
    prediction = predict(delivery(data(0), data(1), sent={"a": sent}))
    assert prediction.outcome is COMPLETED
    assert prediction.waits_for == {}


# -- duplicates, configurations, indices -------------------------------------------------


@pytest.mark.parametrize("channel", [0, 1])
def test_second_packet_with_one_index_is_refused_where_more_is_needed_behind_it(channel):
    first, *rest = complete(channel=channel)
    assert predicted(first, first, *rest) == ({REFUSED}, ["REF-1"])


def test_duplicate_at_the_end_may_be_read_too_late():
    assert predicted(*complete(), data(3)) == ({COMPLETED, REFUSED}, ["REF-1"])


def test_duplicate_on_another_channel_may_be_read_too_late():
    first, *rest = complete()
    assert predicted(first, data(0, channel=1), *rest) == ({COMPLETED, REFUSED}, ["REF-1"])


def test_duplicate_on_another_channel_that_was_sent_long_before_the_rest_is_refused():
    first, *rest = complete()
    late = [data(p.idx, t_ns=SURE_NS + 1) if p.idx != 4 else config(t_ns=SURE_NS + 1) for p in rest]
    assert predicted(first, data(0, channel=1), *late) == ({REFUSED}, ["REF-1"])


def test_duplicate_that_the_destination_reported_is_refused():
    assert predicted(*complete(), data(3, is_read=True)) == ({REFUSED}, ["REF-1"])


def test_duplicate_of_which_both_were_sent_long_before_the_main_channel_went_on():
    assert predicted(*complete(), data(3), resumed_ns=2 * SECOND) == ({REFUSED}, ["REF-1"])


def test_both_copies_are_reported_as_either_may_come_second():
    first, *rest = complete()
    prediction = predict(delivery(first, data(0, channel=1), *rest))
    assert [(r.channel, r.idx) for r in prediction.reasons] == [(0, 0), (1, 0)]


def test_what_is_missing_does_not_save_a_duplicate():
    packets = [p for p in complete() if p.idx != 2]
    assert predicted(*packets, data(3)) == ({REFUSED}, ["REF-1"])


@pytest.mark.parametrize(
    "packets",
    [
        [data(0), data(1), data(3), config(2), config(4)],
        [data(0), data(1), data(3), config(4), config(2)],
        [*complete()[:4], config(3), config(4)],
        [data(5), *complete()],
        [data(0), data(1), data(3), config(2)],
    ],
    ids=["second", "second below", "index taken", "data above", "below data"],
)
def test_configuration_that_is_not_the_last_is_refused(packets):
    allowed, reasons = predicted(*packets)
    assert allowed == {REFUSED}
    assert "REF-7" in reasons


def test_data_above_the_configuration_may_come_too_late():
    assert predicted(*complete(), data(5)) == ({COMPLETED, REFUSED}, ["REF-7"])


def test_data_flagged_as_configuration_is_refused_for_its_place_or_its_content():
    flagged = data(2, state_flags=1, marker="0011223344556677")
    assert predicted(*complete(flagged)) == ({REFUSED}, ["REF-7", "REF-8"])


@pytest.mark.parametrize("idx", [FAR + 10, INVALID_IDX - 1])
def test_far_index_may_be_refused_or_kept(idx):
    packets = complete()
    assert predicted(data(idx), *packets) == ({COMPLETED, REFUSED}, ["REF-6"])
    packets[2] = data(idx)
    prediction = predict(delivery(*packets))
    assert prediction.allowed == {WAITING, REFUSED}
    assert prediction.waits_for == {"a": 2}


# -- wrong packets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "requirement"),
    [
        (data(2, state_version=1), "REF-4"),
        (data(2, instance_id=1), "REF-9"),
        (data(2, magic=1), "REF-10"),
        (data(2, device=""), "REF-9"),
        (data(2, device="b"), "REF-2"),
    ],
)
def test_wrong_packet_is_refused_wherever_it_is(packet, requirement):
    first, *rest = complete()
    assert predicted(packet, first, *rest) == ({REFUSED}, [requirement])
    assert predicted(*complete(packet)) == ({REFUSED}, [requirement])
    assert predicted(*complete(), packet) == ({COMPLETED, REFUSED}, [requirement])


def test_nothing_behind_a_refused_packet_is_read():
    prediction = predict(delivery(data(0, state_version=1), data(1, state_version=2)))
    assert [reason.idx for reason in prediction.reasons] == [0]


def test_length_beyond_the_data_is_refused_or_waits_and_never_completes():
    assert predicted(*complete(data(2, next_packet_size=5000))) == ({REFUSED, WAITING}, ["REF-10"])
    assert predicted(*complete(config(next_packet_size=5000))) == ({REFUSED, WAITING}, ["REF-10"])


def test_rest_behind_a_length_below_the_data_is_refused():
    assert predicted(*complete(data(2, next_packet_size=500))) == ({REFUSED}, ["REF-10"])


def test_rest_behind_the_last_packet_may_come_too_late():
    last = data(3, 1, next_packet_size=500)
    assert predicted(*complete(last)) == ({COMPLETED, REFUSED}, ["REF-10"])


def test_unknown_flags_are_open():
    assert predicted(*complete(data(2, state_flags=2))) == ({COMPLETED, REFUSED}, ["REF-10"])


# -- the configuration's content ---------------------------------------------------------


@pytest.mark.parametrize("packet", [config(size=299), config(marker="00" * 8)])
def test_damaged_configuration_is_refused_once_it_is_loaded(packet):
    assert predicted(*complete(packet)) == ({REFUSED}, ["REF-8"])


def test_damaged_configuration_that_is_not_reached_is_refused_or_waited_before():
    packets = [p for p in complete(config(size=299)) if p.idx != 1]
    assert predicted(*packets) == ({WAITING, REFUSED}, ["REF-8"])


def test_changed_bytes_of_a_configuration_may_be_noticed():
    assert predicted(*complete(config(digest="d"))) == ({COMPLETED, REFUSED}, ["REF-8"])


# -- channels that close, pieces ---------------------------------------------------------


def test_closed_channel_with_packets_missing_is_refused():
    assert predicted(*complete()[:3], closed=(0,)) == ({REFUSED}, ["LIF-2"])


def test_closed_channel_of_a_source_that_could_send_no_more_is_refused():
    sent = Sent(indices=frozenset({0, 1}))
    assert predicted(data(0), data(1), sent={"a": sent}, closed=(0, -1)) == ({REFUSED}, ["LIF-2"])


def test_closed_channel_behind_the_complete_state_may_come_too_late():
    assert predicted(*complete(), closed=(-1,)) == ({COMPLETED, REFUSED}, ["LIF-2"])


def test_piece_of_a_packet_before_the_close_is_the_closes_doing():
    piece = Piece(channel=0, t_ns=0, after=2)
    assert predicted(*complete()[:3], pieces=(piece,), closed=(0,)) == ({REFUSED}, ["LIF-2"])


def test_piece_on_a_channel_that_goes_on_is_damage():
    piece = Piece(channel=0, t_ns=0, after=2)
    assert predicted(*complete(), pieces=(piece,)) == ({REFUSED, WAITING}, ["REF-10"])


# -- the limit of queued bytes (data of 1000 bytes, a configuration of 300) --------------


def test_limit_that_cannot_be_reached_has_no_effect():
    assert predicted(*complete(), limits={"a": 4300 + 5 * 12}) == ({COMPLETED}, [])


def test_limit_that_may_be_reached_may_be_refused():
    assert predicted(*complete(), limits={"a": 2000}) == ({COMPLETED, REFUSED}, ["REF-12"])


def test_packet_larger_than_the_limit_is_refused():
    assert predicted(*complete(), limits={"a": 999}) == ({REFUSED}, ["REF-12"])


def test_what_is_queued_behind_a_missing_packet_counts():
    packets = [p for p in complete() if p.idx != 0]
    assert predicted(*packets, limits={"a": 3299}) == ({REFUSED}, ["REF-12"])
    assert predicted(*packets, limits={"a": 3348}) == ({WAITING}, [])


def test_what_is_queued_long_before_a_late_packet_counts():
    _, *rest = complete()
    late = data(0, t_ns=SURE_NS + 1)
    assert predicted(*rest, late, limits={"a": 3299}) == ({REFUSED}, ["REF-12"])
    assert predicted(*rest, data(0), limits={"a": 3299}) == ({COMPLETED, REFUSED}, ["REF-12"])


def test_what_is_queued_while_the_main_channel_is_stalled_counts():
    fields = {"limits": {"a": 4299}, "resumed_ns": SURE_NS + 1}
    assert predicted(*complete(), **fields) == ({REFUSED}, ["REF-12"])


def test_source_that_closes_its_channels_early_leaves_waiting_or_refusal():
    assert predicted(*complete()[:3], ends_early=True) == ({WAITING, REFUSED}, ["LIF-2"])
    assert predicted(*complete(), ends_early=True) == ({COMPLETED}, [])


# -- against every interleaving ----------------------------------------------------------


def ends(channels, state=()):
    """All ends of a destination that reads the channels in any order, packet by packet.

    It refuses what contradicts what it has, and completes as soon as it has all.
    """
    have = dict(state)
    if any(is_config and all(i in have for i in range(idx)) for idx, is_config in have.items()):
        return {COMPLETED}
    found = set()
    for at, packets in enumerate(channels):
        if packets:
            rest = (*channels[:at], packets[1:], *channels[at + 1 :])
            idx, is_config = packets[0].idx, packets[0].is_config
            configs = [i for i, flag in have.items() if flag]
            is_wrong = idx in have or any(idx > i for i in configs)
            is_wrong |= is_config and (bool(configs) or max(have, default=-1) > idx)
            found |= {REFUSED} if is_wrong else ends(rest, (*have.items(), (idx, is_config)))
    return found or {WAITING}


SMALL = st.tuples(st.integers(0, 3), st.integers(0, 1), st.sampled_from([False, False, True]))


@given(st.lists(SMALL, max_size=6))
def test_every_end_that_some_interleaving_has_is_allowed(drawn):
    packets = [config(i, c) if is_config else data(i, c) for i, c, is_config in drawn]
    channels = tuple(tuple(p for p in packets if p.channel == number) for number in (0, 1))
    allowed = predict(delivery(*packets)).allowed
    assert ends(channels) <= allowed
    if len({(p.idx) for p in packets}) == len(packets):
        assert ends(channels) >= allowed - {REFUSED}
