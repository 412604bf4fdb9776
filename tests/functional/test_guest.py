"""A Linux that runs while it is migrated finds its memory and its device whole."""

import asyncio
import contextlib
import os
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.errors import PrerequisiteMissing
from harness.history import Body, Kind, Record, Side
from harness.history.by_type import ByType
from harness.history.guest import Interrupts as GuestInterrupts
from harness.history.guest import Ready, Round
from harness.scenario import MIB, EmulatedDevice, Lie, LoadBehaviour, SaveBehaviour, Scenario
from harness.scenario.guest_plan import Guest
from harness.scenario.interrupts import At, Fire, Interrupts
from harness.vm import guest_image

B = TypeVar("B", bound=Body)
RAM_MIB = 192
# RAM goes in passes until some MiB are left, which the guest dirties meanwhile.
PASSES = {"downtime-limit": 300, "avail-switchover-bandwidth": 150 * MIB}
DEADLINE_S = 60.0
WORD = 512 * 100
"""Number of a word, of those that the guest fills, that is the first in its page."""


@pytest.fixture(autouse=True)
def needs_guest() -> None:
    try:
        guest_image.find()
    except PrerequisiteMissing as error:
        pytest.skip(str(error))


def said(records: Sequence[Record], side: Side, kind: type[Any] = Round) -> list[Any]:
    return [record.args for record in ByType(records).of(kind, side)]


def scenario(name: str, **fields) -> Scenario:
    defaults = {
        "ram_mib": RAM_MIB,
        "guest": Guest(),
        "parameters": PASSES,
        "deadline_s": DEADLINE_S,
        "devices": (
            EmulatedDevice(id="vfio0", size=MIB),
            EmulatedDevice(id="vfio1", size=100_000, seed=2),
        ),
    }
    return Scenario(name=name, **{**defaults, **fields})


@pytest.mark.requirement("RUN", "ORD-1", "ORD-4", "LIF-7")
async def test_guest_is_whole_after_it_went_forth_and_back(judged_in_turn, kept) -> None:
    run, back = await judged_in_turn(scenario("forth", then=(scenario("back"),)))

    kept(run, "RUN", "ORD-1", "ORD-4")
    kept(back, "RUN", "ORD-1", "ORD-4")
    (ready,) = said(run.history.records, Side.SOURCE, Ready)
    assert ready == Ready(4096, ["vfio0", "vfio1"])
    for each in (run, back):
        records = each.history.records
        here, there = said(records, Side.SOURCE), said(records, Side.DESTINATION)
        assert len(there) >= 5
        assert there[0].memory == "good"
        assert there[0].devices == {"vfio0": "good", "vfio1": "good"}
        # A line that the switchover cut in two is no round: one may be missing.
        assert there[0].round - here[-1].round in (1, 2)


def ram_of(pid: int) -> tuple[int, int]:
    """First address and length of the guest's RAM in that QEMU."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        if last - first >= RAM_MIB * MIB and line.split()[1].startswith("rw"):
            return first, last - first
    raise AssertionError(f"process {pid} has no mapping of {RAM_MIB} MiB")


def page_of_pattern(pid: int, rounds: range) -> int:
    """Address, in that QEMU, of a page that the guest fills in each round (init.c: pattern()).

    While it is looked for the guest goes on: any of ``rounds`` will do.
    """
    wanted = (((n << 32 | WORD) * 0x9E3779B97F4A7C15) % 2**64 for n in rounds)
    pattern = re.compile(b"|".join(re.escape(struct.pack("<Q", value)) for value in wanted))
    first, length = ram_of(pid)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(first)
        for offset in range(0, length, MIB):
            if found := pattern.search(memory.read(MIB)):
                return first + offset + found.start()
    raise AssertionError("the guest's pattern is not in its memory")


@contextlib.contextmanager
def damaging(pid: int, address: int) -> Iterator[None]:
    """Put zeros there again and again, since the guest fills it anew in each round."""
    is_over = threading.Event()

    def damage() -> None:
        with Path(f"/proc/{pid}/mem").open("wb", buffering=0) as memory:
            while not is_over.is_set():
                os.pwrite(memory.fileno(), bytes(8), address)

    thread = threading.Thread(target=damage)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


# One start for both: a Linux takes its time.  BAR 0 is as large as the buffer that the
# device lies about, in the middle of which is the wrong byte.
@pytest.mark.requirement("RUN", "ORD-1")
@pytest.mark.scenario(
    ram_mib=RAM_MIB,
    guest=Guest(rounds=40),
    deadline_s=DEADLINE_S,
    devices=(
        EmulatedDevice(
            id="vfio0",
            size=2 * MIB,
            bar_size=MIB,
            save=SaveBehaviour(read_delay_s=0.5),  # behind the RAM: no known deadlock
            load=LoadBehaviour(lie=Lie.WRONG_BYTE),
            interrupts=Interrupts(
                vectors=3, fires=(Fire(at=At.BEFORE), Fire(at=At.RUNNING, vector=2))
            ),
        ),
    ),
)
async def test_guest_gets_interrupts_and_notices_damage(pair_booted) -> None:
    session = pair_booted
    await session.transfer()
    vm = session.destination.vm

    def rounds(*, damaged: str) -> list | None:
        told = said(session.records, Side.DESTINATION)
        return [args for args in told if "damaged" in str(getattr(args, damaged))] or None

    (of_device,) = await vm.activity.until(lambda: rounds(damaged="devices"), DEADLINE_S)
    # The word around the wrong byte, as the guest counts it: 60 bytes are in front of BAR 0.
    assert f"damaged: byte {MIB // 2 - 60 & ~7:#x}: " in of_device.devices["vfio0"]
    assert of_device.memory == "good"

    def interrupts() -> list[int] | None:
        shown = said(session.records, Side.DESTINATION, GuestInterrupts)
        return shown[-1].vectors if shown and len(shown[-1].vectors) > 1 else None

    assert said(session.records, Side.SOURCE, GuestInterrupts)[-1].vectors == [0]
    assert await vm.activity.until(interrupts, DEADLINE_S) == [0, 2]

    now = of_device.round
    address = await asyncio.to_thread(page_of_pattern, vm.process.pid, range(now, now + 100))
    with damaging(vm.process.pid, address):
        (of_memory, *_) = await vm.activity.until(lambda: rounds(damaged="memory"), DEADLINE_S)
    assert of_memory.memory.startswith(f"damaged: byte {8 * WORD:#x}: 0, not 0x")
    assert of_memory.devices == {"vfio0": "good"}, "it fills the device anew in each round"

    verdict = judge(await session.stop())
    device, memory = verdict.finding("ORD-1"), verdict.finding("RUN")
    assert device.outcome is memory.outcome is Outcome.VIOLATED
    assert [r.args for r in device.evidence if r.kind is Kind.GUEST] == [of_device]
    assert memory.sentence == (
        f"the guest found its memory damaged at the destination: {of_memory.memory}"
    )
    assert [record.args for record in memory.evidence] == [of_memory]
