"""Records found by what they hold."""

from harness.history import Kind, Record, Side, device, process
from harness.history.by_type import ByType

SRC, DST = Side.SOURCE, Side.DESTINATION
ARC = device.Arc(state="STOP", path=["STOP"], errno=0)
RECORDS: list[Record] = [
    Record.of(1, SRC, ARC, "vfio0"),
    Record(2, SRC, Kind.TRACE, "arc", {"errno": 5}, "vfio0"),
    Record.of(3, DST, ARC, "vfio1"),
    Record.of(4, SRC, ARC, "vfio1"),
    Record.of(5, SRC, process.Signalled(9)),
    Record.of(6, SRC, device.Reset()),
]


def times(*asked) -> list[int]:
    by_type = ByType(RECORDS)
    found = [record.t_ns for record in by_type.of(*asked)]
    assert found == [record.t_ns for record in by_type.of(*asked)]  # asked again: the same
    return found


def test_records_of_a_type_are_found_by_side_and_device():
    assert times(device.Arc) == [1, 3, 4]
    assert times(device.Arc, SRC) == [1, 4]
    assert times(device.Arc, None, "vfio1") == [3, 4]
    assert times(device.Arc, DST, "vfio0") == []
    assert times(process.Signalled) == [5]
    assert times(process.Exited) == []


def test_no_device_is_not_any_device():
    assert times(device.Reset, SRC, "") == [6]
    assert times(device.Arc, SRC, "") == []
