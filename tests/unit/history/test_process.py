"""What the lines of kind ``process`` hold."""

import pytest

from harness.errors import HistoryError
from harness.history import Kind, process
from tests.unit.history.lines import read, written


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"argv": ["qemu"], "pid": 7}, process.Launched(["qemu"], 7)),
        ({"status": -1, "signal": 9, "asked": True}, process.Exited(-1, 9, True)),
        ({}, process.HandedOver()),
        ({"signal": 15}, process.Signalled(15)),
        ({"hwm_kib": 9, "rss_kib": 0, "at": "ended"}, process.Memory(9, 0, "ended")),
        ({"count": 4, "sockets": 2}, process.ZeroCopySends(4, 2)),
        ({"line": "qemu: no"}, process.Stderr("qemu: no")),
        ({"waiting_for": "quit", "backtrace": "", "main_loop_alive": False,
          "monitor_alive": True}, process.Hung("quit", "", False, True)),
    ],
)  # fmt: skip
def test_line_is_read_as_its_type_and_written_as_it_was(args, expected):
    assert read(Kind.PROCESS, expected.NAME, **args) == expected
    assert written(expected) == args


def test_what_the_first_harness_did_not_record_is_none():
    assert read(Kind.PROCESS, "memory", hwm_kib=9) == process.Memory(9, None, None)
    hung = read(Kind.PROCESS, "hung", waiting_for="quit", backtrace="", main_loop_alive=True)
    assert hung == process.Hung("quit", "", True, None)


def test_memory_is_of_a_phase_that_there_is():
    with pytest.raises(HistoryError, match="Invalid enum value 'later'"):
        read(Kind.PROCESS, "memory", hwm_kib=9, rss_kib=9, at="later")
