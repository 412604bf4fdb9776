"""What the lines of kind ``wire`` hold."""

from typing import Any

import pytest

from harness.errors import HistoryError
from harness.history import Kind, wire
from tests.unit.history.lines import read, written

USUAL: dict[str, Any] = {"idx": 3, "state_flags": 0, "instance_id": 0, "size": 9, "digest": "d"}
ODD: dict[str, Any] = {"idstr": "6e6f", "magic": 1, "version": 2, "flags": 0, "state_version": 3,
       "next_packet_size": 4}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"connection": 0, "kind": "multifd"}, wire.ChannelOpened(0, "multifd")),
        ({"pid": 7, "uid": 65534}, wire.StrangerRefused(7, 65534)),
        ({"connection": 0, "reason": "refused"}, wire.ChannelRefused(0, "refused")),
        ({"connection": 0, "side": "source", "is_reset": True},
         wire.ChannelEnded(0, "source", True)),
        ({"connection": 0, "to_destination": 9, "to_source": 8}, wire.ChannelClosed(0, 9, 8)),
        ({"what": "byte 7: nonsense"}, wire.Damaged("byte 7: nonsense")),
        ({"magic": 1, "version": 2, "channel_id": 3, "uuid": "00"}, wire.HelloOut(1, 2, 3, "00")),
        (USUAL, wire.PacketIn(**USUAL)),
        ({**USUAL, "idx": None}, wire.PacketOut(**{**USUAL, "idx": None})),
        ({**USUAL, "marker": "ff", **ODD}, wire.PacketLost(**USUAL, marker="ff", **ODD)),
        ({"kind": "full", "idstr": "0000:00:02.0/vfio", "size": 4},
         wire.MainSection("full", "0000:00:02.0/vfio", 4)),
        ({"offset": 320}, wire.Switchover(320)),
        ({"offset": 320}, wire.MainEnd(320)),
        ({"size": 20}, wire.RawOut(20)),
        ({}, wire.MainStalled()),
        ({}, wire.MainResumed()),
        ({"bytes": 4, "digest": "d"}, wire.Delivered(4, "d")),
    ],
)  # fmt: skip
def test_line_is_read_as_its_type_and_written_as_it_was(args, expected):
    assert read(Kind.WIRE, expected.NAME, **args) == expected
    assert written(expected) == args


def test_packet_as_qemu_makes_them_has_no_odd_fields():
    packet = read(Kind.WIRE, "packet_in", **USUAL)
    assert isinstance(packet, wire.Packet)
    assert (packet.marker, packet.idstr) == (None, "")
    assert {getattr(packet, name) for name in ODD if name != "idstr"} == {None}


def test_name_of_a_foreign_device_is_hex():
    with pytest.raises(HistoryError, match="wire packet_out: Expected `str` matching regex"):
        read(Kind.WIRE, "packet_out", **USUAL, idstr="vfio0")


def test_fault_is_one_of_the_scenario():
    with pytest.raises(HistoryError, match="the scenario has no such position"):
        read(Kind.WIRE, "fault", fault="drop", position=0, what="dropped")
