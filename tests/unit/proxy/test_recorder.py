"""How a packet is written down."""

from dataclasses import replace

import pytest
import xxhash

from harness.proxy.recorder import digest_of, hello_args, packet_args
from harness.wire.packets import MultiFDInit
from tests.unit.proxy.playbook import config, packet


def test_usual_packet_is_recorded_in_five_words() -> None:
    assert packet_args(config(7), 6, "d") == {
        "idx": 7, "state_flags": 1, "instance_id": 0, "size": 6, "digest": "d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("magic", 1), ("version", 2), ("flags", 0x41), ("state_version", 3), ("next_packet_size", 9)],
)
def test_unusual_field_is_recorded(name: str, value: int) -> None:
    made = replace(packet(0), **{name: value})
    assert packet_args(made, 0, "")[name] == value
    assert name not in packet_args(packet(0), 0, "")


@pytest.mark.parametrize(
    ("idstr", "is_recorded"),
    [
        (b"0000:00:02.0/vfio".ljust(256, b"\0"), False),
        (b"x" * 256, True),
        (b"abc\0more".ljust(256, b"\0"), True),
        (b"\xff".ljust(256, b"\0"), True),
        (bytes(256), False),
    ],
)
def test_idstr_is_recorded_in_hex_where_its_text_is_not_all(
    idstr: bytes, is_recorded: bool
) -> None:
    assert packet_args(replace(packet(0), idstr=idstr), 0, "").get("idstr") == (
        idstr.hex() if is_recorded else None
    )


def test_hello_is_recorded_with_what_a_fault_may_change() -> None:
    assert hello_args(MultiFDInit(3, b"\1" * 16)) == {
        "magic": 0x11223344, "version": 1, "channel_id": 3, "uuid": "01" * 16,
    }  # fmt: skip


def test_digest_is_xxh3_128_of_the_data() -> None:
    assert digest_of(b"abc") == xxhash.xxh3_128(b"abc").hexdigest()
