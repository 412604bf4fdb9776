"""How a packet is recorded."""

from dataclasses import replace
from typing import Any

import pytest
import xxhash

from harness.history.wire import PacketIn, PacketOut
from harness.proxy.recorder import Recorder, Seen, described, digest_of
from tests.unit.proxy.playbook import config, packet


def test_usual_packet_is_recorded_in_five_words() -> None:
    assert described(PacketIn, config(7), 6, "d") == PacketIn(
        idx=7, state_flags=1, instance_id=0, size=6, digest="d"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("magic", 1), ("version", 2), ("flags", 0x41), ("state_version", 3), ("next_packet_size", 9)],
)
def test_unusual_field_is_recorded(name: str, value: int) -> None:
    unusual: dict[str, Any] = {name: value}
    made = replace(packet(0), **unusual)
    assert getattr(described(PacketIn, made, 0, ""), name) == value
    assert getattr(described(PacketIn, packet(0), 0, ""), name) is None


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
def test_idstr_is_recorded_in_hex_if_its_text_is_not_all(idstr: bytes, is_recorded: bool) -> None:
    made = described(PacketIn, replace(packet(0), idstr=idstr), 0, "")
    assert made.idstr == (idstr.hex() if is_recorded else "")


@pytest.mark.parametrize("keeps_payload", [True, False])
def test_packet_is_recorded_with_time_marker_and_payload(keeps_payload: bool) -> None:
    seen: list[Seen] = []
    Recorder(seen.append, keeps_payload).packet(PacketOut, 2, config(7))
    (it,) = seen
    assert it.t_ns > 0
    assert (it.channel, it.device) == (2, "0000:00:02.0/vfio")
    assert it.body == PacketOut(
        idx=7, state_flags=1, instance_id=0, size=6, digest=digest_of(b"config"),
        marker=b"config".hex(),
    )  # fmt: skip
    assert it.payload == (b"config" if keeps_payload else None)


@pytest.mark.parametrize(
    ("payload", "idx", "data"),
    [(packet(9, b"made").payload, 9, b"made"), (b"short", None, b"short")],
)
def test_payload_that_a_fault_made_is_recorded_as_it_is_read(
    payload: bytes, idx: int | None, data: bytes
) -> None:
    seen: list[Any] = []
    made = replace(packet(0), idx=None, data=payload)
    Recorder(seen.append).packet(PacketOut, 0, made)
    assert (seen[0].body.idx, seen[0].body.digest) == (idx, digest_of(data))


def test_stated_size_that_is_true_is_not_unusual() -> None:
    seen: list[Any] = []
    for size in (len(packet(0).payload), 9):
        Recorder(seen.append).packet(PacketOut, 0, replace(packet(0), next_packet_size=size))
    assert [it.body.next_packet_size for it in seen] == [None, 9]


def test_digest_is_xxh3_128_of_the_data() -> None:
    assert digest_of(b"abc") == xxhash.xxh3_128(b"abc").hexdigest()
