"""What the lines of kind ``guest`` hold."""

import pytest

from harness.errors import HistoryError
from harness.history import Kind, guest
from tests.unit.history.lines import read, written


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"memory_kib": 64, "devices": ["vfio0"]}, guest.Ready(64, ["vfio0"])),
        ({"round": 3, "memory": "good", "devices": {"vfio0": "good"}},
         guest.Round(3, "good", {"vfio0": "good"})),
        ({"why": "BAR 0: I/O error"}, guest.GaveUp("BAR 0: I/O error")),
        ({"line": "Linux version 6.1"}, guest.Line("Linux version 6.1")),
    ],
)  # fmt: skip
def test_line_is_read_as_its_type_and_written_as_it_was(args, expected):
    assert read(Kind.GUEST, expected.NAME, **args) == expected
    assert written(expected) == args


def test_round_is_of_devices_by_their_ids():
    with pytest.raises(HistoryError, match="guest round: Expected `object`, got `array`"):
        read(Kind.GUEST, "round", round=3, memory="good", devices=["vfio0"])
