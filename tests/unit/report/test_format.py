"""Records and figures as text: nothing that locates a record is left out."""

import pytest

from harness.history import Kind, Side
from harness.report.format import build_text, figures_text, moment, ranges, record_text
from tests.unit.check.histories import FACTS, START
from tests.unit.saved_runs import record


def test_moment_is_counted_from_the_start_of_the_run():
    assert moment(record(t_ns=START + 1_234_567_000), START) == "+1.234567 s"


def test_moment_before_the_start_is_negative():
    assert moment(record(t_ns=START - 1000), START) == "-0.000001 s"


def test_record_shows_side_device_channel_and_thread():
    told = record_text(
        record(
            "vfio_load_state_device_buffer_incoming",
            side=Side.DESTINATION,
            kind=Kind.TRACE,
            device="vfio0",
            channel=2,
            tid=4711,
            args={"name": "VFIO_FD9", "idx": 3},
        )
    )
    assert told == (
        "destination vfio0 channel 2 thread 4711: "
        "trace vfio_load_state_device_buffer_incoming: idx 3"
    )


def test_qmp_record_is_named_by_its_command():
    told = record_text(
        record("error", kind=Kind.QMP, args={"command": "migrate", "class": "X", "desc": "no"})
    )
    assert told == "source: qmp migrate error: class X, desc no"


def test_list_is_reported_as_its_words():
    assert record_text(record(args={"path": ["STOP", "RESUMING"]})).endswith("path STOP RESUMING")


def test_long_value_is_cut_and_says_where_the_rest_is():
    told = record_text(record(args={"line": "x" * 500}))
    assert "x" * 500 not in told
    assert "500 characters, all in history.jsonl" in told


def test_backtrace_keeps_its_first_lines_as_lines():
    told = record_text(record("hung", args={"backtrace": "\n".join(map(str, range(100)))}))
    assert "\n  0\n  1\n" in told
    assert "\n  99" not in told
    assert "100 lines, all in history.jsonl" in told


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({}, ""),
        ({"loads": 16, "longest_wait_ms": 0.2}, "loads 16, longest wait 0.2 ms"),
        ({"packets": {"vfio0": 3, "vfio1": 4}}, "packets vfio0 3, vfio1 4"),
        ({"spread": {"vfio0": {"0": 5, "1": 4}}}, "spread vfio0 (0 5, 1 4)"),
        ({"paths": {}, "said": ""}, ""),
        ({"bytes_taken": 0}, "bytes taken 0"),
        ({"is_queue_seen": False}, "is queue seen no"),
    ],
)
def test_numbers_are_reported_with_their_names_and_units(numbers, told):
    assert figures_text(numbers) == told


@pytest.mark.parametrize(
    ("numbers", "told"),
    [([], ""), ([4], "4"), ([1, 2], "1-2"), ([7, 1, 2, 3], "1-3, 7"), ([1, 3, 5], "1, 3, 5")],
)
def test_runs_of_numbers_are_reported_as_ranges(numbers, told):
    assert ranges(numbers) == told


def test_build_is_reported_with_version_and_path():
    assert build_text(FACTS) == "QEMU 10.0.2 Debian, /usr/bin/qemu-system-x86_64"
