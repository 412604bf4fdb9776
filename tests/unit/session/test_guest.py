"""Waiting for a guest: until it is up, until it goes on, or in vain."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from harness.errors import LostVM
from harness.history import Kind, Record, Side
from harness.history.guest import Ready
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest
from harness.scenario.interrupts import At, Interrupts
from harness.session import guest
from harness.session.log import Log
from harness.vm.activity import Activity
from tests.unit.vm.test_pci_config import Bus

SCENARIO = Scenario(
    name="guest",
    ram_mib=LINUX_RAM_MIB,
    guest=Guest(rounds=3, boot_deadline_s=0.05),
    deadline_s=0.05,
    devices=(EmulatedDevice(id="a"), EmulatedDevice(id="b")),
)
READY = Ready(4096, ["a", "b"])
FIRMWARE = Path("/run/halt.bin")


@pytest.fixture
def console():
    return SimpleNamespace(
        ready=READY, rounds=2, why_not="", last_line="guest: round 1", path="/run/source.console",
        fd=7, options=lambda: ["-serial", "chardev:console"],
    )  # fmt: skip


@pytest.fixture
def peer(console):
    vm = SimpleNamespace(activity=Activity(), is_running=True, monitor=Bus())
    return SimpleNamespace(
        console=console,
        vm=vm,
        events=[],
        side=Side.SOURCE,
        binary=Path("/qemu"),
        is_paused=False,
    )


def later(peer, **said):
    """The guest, or its QEMU, is so in a moment; the deadlines are no more than that away."""

    def tell():
        for name, value in said.items():
            setattr(peer.vm if name == "is_running" else peer.console, name, value)
        peer.vm.activity.notify()

    asyncio.get_running_loop().call_soon(tell)


async def test_guest_that_is_up_is_seen_with_its_devices(peer):
    log = Log()
    assert await guest.until_up(peer, SCENARIO, log)
    assert [(r.name, r.device) for r in log.records] == [
        ("guest_config", "a"),
        ("guest_config", "b"),
    ]


async def test_it_is_waited_for(peer, console):
    console.ready, console.rounds = None, 0
    later(peer, ready=READY, rounds=2)
    assert await guest.until_up(peer, SCENARIO, Log())


async def test_qemu_that_ends_meanwhile_is_left_to_the_verdict(peer, console):
    console.rounds = 0
    later(peer, is_running=False)
    assert not await guest.until_up(peer, SCENARIO, Log())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"rounds": 1},
            "the guest was not up after 0.05 s; its last words: guest: round 1; see /run/source",
        ),
        ({"ready": None, "last_line": ""}, "its last words: none; see"),
        ({"why_not": "BAR 0: no"}, "the guest gave up before the migration: BAR 0: no"),
        ({"ready": Ready(4096, ["b"])}, "the guest does not find a; see"),
    ],
)
async def test_guest_that_does_not_come_up_is_one_line(peer, console, said, words):
    vars(console).update(said)
    with pytest.raises(LostVM, match=words):
        await guest.until_up(peer, SCENARIO, Log())


async def test_rounds_that_it_has_reported_before_do_not_count(peer):
    waited_for = await guest.until_it_goes_on(peer, SCENARIO)
    assert waited_for == "3 more rounds of the guest at the source"


@pytest.mark.parametrize("said", [{"rounds": 5}, {"why_not": "x"}, {"is_running": False}])
async def test_it_goes_on_or_cannot(peer, said):
    later(peer, **said)
    assert await guest.until_it_goes_on(peer, SCENARIO) == ""


async def test_guest_that_is_stopped_is_not_waited_for(peer):
    peer.events = [Record(1, Side.SOURCE, Kind.QMP, "STOP")]
    assert await guest.until_it_goes_on(peer, SCENARIO) == ""


INTERRUPTING = msgspec.structs.replace(
    SCENARIO,
    devices=(EmulatedDevice(id="a", interrupts=Interrupts(vectors=1)), EmulatedDevice(id="b")),
)


async def test_devices_fire_once_the_guest_is_up_and_it_has_time_to_show_it(peer):
    fired, asked = [], []
    peer.devices = SimpleNamespace(fire=fired.append)

    async def ask(command):
        asked.append(command)

    peer.vm.monitor.ask = ask
    later(peer, rounds=7)
    assert await guest.until_up(peer, INTERRUPTING, Log())
    assert fired == [At.BEFORE]
    assert len(asked) == 2
    peer.side = Side.DESTINATION
    later(peer, rounds=30)
    assert await guest.until_it_goes_on(peer, INTERRUPTING) == ""
    assert len(asked) == 4
