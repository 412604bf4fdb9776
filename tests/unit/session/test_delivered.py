"""What was given of a device's data is put together by idx."""

import itertools

from harness.history import wire
from harness.proxy.recorder import Seen, digest_of
from harness.session.delivered import Delivered

DEVICE = "0000:00:02.0/vfio"


def collected(*packets):
    delivered = Delivered()
    for idx, flags, payload in packets:
        delivered.take(Seen(1, wire.PacketOut(idx, flags, 0, len(payload), ""), 0, DEVICE, payload))
    return delivered


def args(data):
    return wire.Delivered(bytes=len(data), digest=digest_of(data))


def test_data_is_put_in_order_whichever_way_it_came():
    parts = [(0, 0, b"ab"), (1, 0, b""), (2, 0, b"c")]
    for order in itertools.permutations(parts):
        assert collected(*order).of(DEVICE) == args(b"abc")


def test_configuration_is_no_data():
    assert collected((0, 0, b"ab"), (1, 1, b"config")).of(DEVICE) == args(b"ab")


def test_first_of_two_with_one_idx_counts():
    assert collected((0, 0, b"ab"), (0, 0, b"xy")).of(DEVICE) == args(b"ab")


def test_what_follows_a_gap_is_not_loaded():
    assert collected((0, 0, b"ab"), (2, 0, b"cd")).of(DEVICE) == args(b"ab")


def test_payload_without_a_header_is_nobodys():
    assert collected((None, 0, b"short")).of(DEVICE) == args(b"")


def test_each_device_has_its_own():
    assert collected((0, 0, b"ab")).of("0000:00:03.0/vfio") == args(b"")
