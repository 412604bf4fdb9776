"""The guest's console: what it says becomes records."""

import socket
from typing import Any

import pytest

from harness.history import Kind, Record, Side
from harness.history.guest import GaveUp, Interrupts, Line, Ready, Round
from harness.vm.activity import Activity
from harness.vm.console import Console, parse

DEVICES = {"0000:00:02.0": "vfio0", "0000:00:03.0": "vfio1"}
DEADLINE_S = 5.0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("guest: ready: 4096 KiB of memory", Ready(4096, [])),
        (
            "guest: ready: 64 KiB of memory, BAR 0 of 0000:00:02.0, BAR 0 of 0000:00:09.0",
            Ready(64, ["vfio0", "0000:00:09.0"]),
        ),
        ("guest: round 0: memory good", Round(0, "good", {})),
        (
            "guest: round 17: memory good, 0000:00:02.0 good, 0000:00:03.0 good",
            Round(17, "good", {"vfio0": "good", "vfio1": "good"}),
        ),
        (
            "guest: round 18: memory damaged: byte 0x8: 0, not 0x5e, 0000:00:02.0 good",
            Round(18, "damaged: byte 0x8: 0, not 0x5e", {"vfio0": "good"}),
        ),
        (
            "guest: round 1: memory good, 0000:00:02.0 damaged: byte 0: 0, not 0x5e, "
            "0000:00:03.0 damaged: scratch register: 0xff, not 0x3",
            Round(
                1,
                "good",
                {
                    "vfio0": "damaged: byte 0: 0, not 0x5e",
                    "vfio1": "damaged: scratch register: 0xff, not 0x3",
                },
            ),
        ),
        ("guest: interrupts of 0000:00:02.0: 0 12", Interrupts("vfio0", [0, 12])),
        ("guest: interrupts of 0000:00:02.0:", Interrupts("vfio0", [])),
        ("guest: gave up: /sys: Out of memory", GaveUp("/sys: Out of memory")),
        ("guest: round 4: mem", Line("guest: round 4: mem")),
        ("ory good, 0000:00:02.0 good", Line("ory good, 0000:00:02.0 good")),
        ("[    1.0] Kernel panic", Line("[    1.0] Kernel panic")),
    ],
)
def test_line_becomes_a_record(line, expected):
    assert parse(line, DEVICES) == expected


class Guest:
    """A console with QEMU's end of it in hand."""

    def __init__(self, folder):
        self.records: list[Record] = []
        self.activity = Activity()
        self.console = Console(
            Side.SOURCE, folder / "a,b.console", DEVICES, self.records.append, self.activity
        )
        self.end = socket.socket(fileno=socket.dup(self.console.fd))
        self.console.listen()

    async def until(self, count: int) -> list[Any]:
        await self.activity.until(lambda: len(self.records) >= count or None, DEADLINE_S)
        assert all((r.kind, r.side) == (Kind.GUEST, Side.SOURCE) for r in self.records)
        return [record.args for record in self.records]


@pytest.fixture
async def guest(tmp_path):
    made = Guest(tmp_path)
    yield made
    made.console.close()
    made.end.close()


def test_options_name_the_descriptor_and_the_file(tmp_path):
    console = Console(Side.SOURCE, tmp_path / "a,b", {}, lambda _record: None, Activity())
    chardev = f"socket,id=console,fd={console.fd},logfile={tmp_path}/a,,b"
    assert console.options() == ["-chardev", chardev, "-serial", "chardev:console"]
    console.close()
    console.close()


async def test_lines_are_recorded_when_they_end(guest):
    guest.end.sendall(b"\r\nhello\r\nguest: round 3: mem")
    assert await guest.until(1) == [Line("hello")]
    guest.end.sendall(b"ory good\r\n")
    assert isinstance((await guest.until(2))[1], Round)
    assert guest.console.rounds == 1
    assert guest.console.last_line == "guest: round 3: memory good"


async def test_what_is_kept_tells_how_the_guest_is(guest):
    guest.end.sendall(b"guest: ready: 4 KiB of memory, BAR 0 of 0000:00:03.0\n")
    await guest.until(1)
    assert guest.console.ready == Ready(4, ["vfio1"])
    assert not guest.console.why_not
    guest.end.sendall(b"guest: gave up: BAR 0: Bad address\n")
    await guest.until(2)
    assert guest.console.why_not == "BAR 0: Bad address"


async def test_last_line_without_an_end_is_kept_when_qemu_ends(guest):
    guest.end.sendall(b"cut o")
    guest.end.close()
    assert await guest.until(1) == [Line("cut o")]


async def test_round_that_the_switchover_cut_short_is_not_taken_for_one(guest):
    """It would be one, of fewer devices."""
    cut = "guest: round 7: memory good"
    guest.end.sendall(cut.encode())
    guest.end.close()
    assert await guest.until(1) == [Line(cut)]
    assert guest.console.rounds == 0


async def test_close_takes_in_what_has_not_been_read(guest):
    guest.end.sendall(b"one\ntwo")
    guest.console.close()
    assert [record.args.line for record in guest.records] == ["one", "two"]


async def test_noise_is_cut_and_does_not_pile_up(guest):
    guest.end.sendall(b"\xff" * 5000)
    await guest.until(1)
    assert guest.records[0].args.line.startswith("\\xff\\xff")
