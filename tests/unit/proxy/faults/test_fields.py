"""Header fields on the wire, after they were set."""

from dataclasses import replace
from typing import Any

import pytest

from harness.proxy.faults.fields import with_fields, with_payload
from harness.scenario.fault_plan import Fields
from tests.unit.proxy.playbook import packet

# Offsets in multifd.h's MultiFDPacketDeviceState_t and in VFIODeviceStatePacket behind it.
OFFSETS = {
    "magic": 0,
    "version": 4,
    "flags": 8,
    "instance_id": 268,
    "next_packet_size": 272,
    "state_version": 276,
    "idx": 280,
    "state_flags": 284,
}


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("value", [0, 0x12345678, 0xFFFFFFFF])
def test_one_field_changes_its_four_bytes_alone(name: str, value: int) -> None:
    before = packet(5).pack()
    wanted: dict[str, Any] = {name: value}
    after = with_fields(packet(5), Fields(**wanted)).pack()
    at = OFFSETS[name]
    assert after[at : at + 4] == value.to_bytes(4, "big")
    assert after[:at] + after[at + 4 :] == before[:at] + before[at + 4 :]


def test_idstr_is_padded_and_cut_to_its_256_bytes() -> None:
    assert with_fields(packet(0), Fields(idstr="abc")).idstr == b"abc".ljust(256, b"\0")
    assert with_fields(packet(0), Fields(idstr="x" * 300)).idstr == b"x" * 256


def test_no_field_changes_nothing() -> None:
    assert with_fields(packet(3), Fields()) == packet(3)


@pytest.mark.parametrize("payload", [b"", b"short", b"longer than VFIO's own header"])
def test_payload_comes_in_place_of_header_and_data(payload: bytes) -> None:
    made = with_payload(replace(packet(3), state_flags=1), payload).pack()
    assert made[:272] == packet(3).pack()[:272]
    assert made[272:276] == len(payload).to_bytes(4, "big")
    assert made[276:] == payload
