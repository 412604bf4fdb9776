"""``show``: a capture, section by section and packet by packet."""

import gzip
from pathlib import Path

import pytest

from harness.commands import show
from harness.errors import UsageError, WireError
from harness.proxy.events import MAIN
from harness.wire.packets import DeviceStatePacket
from tests.unit.called import one_line
from tests.unit.proxy.captures import make
from tests.unit.proxy.streams import SYNC, hello, ram

SAMPLES = sorted(Path("tests/data/main-channel").glob("*.gz"))
IDSTR = b"0000:00:02.0/vfio".ljust(256, b"\0")


def packet(idx, flags=0):
    return DeviceStatePacket(IDSTR, 0, idx, b"x" * 10, flags).pack()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_sections_of_a_real_main_channel_and_its_switchover_point(tmp_path, sample):
    channel = hello(0) + ram() + packet(0) + SYNC + SYNC + packet(1, flags=1)
    capture = make(tmp_path / "c", {MAIN: gzip.decompress(sample.read_bytes()), 0: channel})
    told = list(show.lines(capture.path))
    (switchover,) = [n for n, line in enumerate(told) if "the switchover point" in line]
    assert "SWITCHOVER_START" in told[switchover]
    assert any("PART ram" in line for line in told[:switchover])
    assert any("FULL cpu 0" in line for line in told[switchover:])
    at = told.index(f"channel 0: {len(channel)} bytes")
    assert told[at + 2 :] == [
        "    1 RAM packets, 8192 bytes of pages",
        "    0000:00:02.0/vfio packet 0: data, 10 bytes",
        "    2 RAM packets, 0 bytes of pages",
        "    0000:00:02.0/vfio packet 1: configuration, 10 bytes",
    ]


def test_samples_are_there():
    assert len(SAMPLES) == 2


def test_channel_that_is_none_is_told_with_its_place(tmp_path):
    sample = gzip.decompress(SAMPLES[0].read_bytes())
    capture = make(tmp_path / "c", {MAIN: sample, 3: hello(3) + b"x" * 99})
    with pytest.raises(WireError, match="channel 3, byte 64"):
        list(show.lines(capture.path))


def test_file_that_is_no_capture_is_refused(tmp_path):
    (tmp_path / "x").write_text("no")
    with pytest.raises(UsageError, match="not a capture"):
        list(show.lines(tmp_path / "x"))


def test_what_is_no_capture_is_one_line(call, tmp_path):
    (tmp_path / "x").write_bytes(b"nonsense")
    status, _, err = call("show", tmp_path / "x")
    assert status == 4
    assert str(tmp_path / "x") in one_line(err)
