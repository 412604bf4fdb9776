"""LIF-5 to LIF-8: devices that fail, storms of commands, forth and back, memory."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.device import Read, Write
from harness.job.run import Run
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    LoadBehaviour,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
)
from harness.scenario.action_plan import Storm, Target, status
from harness.scenario.fault_plan import Pace
from harness.vm import builds, fetched
from tests.records import of

BUFFER = MIB  # QEMU's VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE
SIZE = 3 * BUFFER
BYTES = {"0": 0, "first buffer": 100, "between": BUFFER, "last buffer": SIZE - 1}


def _device(**fields: Any) -> EmulatedDevice:
    return EmulatedDevice(**{"id": "vfio0", "size": SIZE, **fields})


# -- LIF-5 --------------------------------------------------------------------------------

PATHS = pytest.mark.parametrize("path", [OnOffAuto.ON, OnOffAuto.OFF], ids=["multifd", "main"])
FAILS = pytest.mark.parametrize(
    ("path", "at"),
    [
        *((OnOffAuto.ON, at) for at in BYTES.values()),
        *((OnOffAuto.OFF, BYTES[name]) for name in ("0", "last buffer")),
    ],
    ids=[*(f"multifd, {name}" for name in BYTES), "main, 0", "main, last buffer"],
)


@pytest.mark.requirement("LIF-5")
@FAILS
async def test_source_device_that_fails_a_read(judged, kept, path, at) -> None:
    device = _device(multifd_transfer=path, save=SaveBehaviour(error_at=at))
    run = await judged(Scenario(name="read-error", devices=(device,)))
    case = "read error on the main channel" if path is OnOffAuto.OFF else ""
    kept(run, "LIF-5", case=case)


@pytest.mark.requirement("LIF-5")
@FAILS
async def test_destination_device_that_fails_a_write(judged, kept, path, at) -> None:
    device = _device(multifd_transfer=path, load=LoadBehaviour(error_at=at))
    run = await judged(Scenario(name="write-error", devices=(device,)))
    case = "write error on the main channel" if path is OnOffAuto.OFF else ""
    kept(run, "LIF-5", case=case)


# -- LIF-6 --------------------------------------------------------------------------------


@pytest.mark.requirement("LIF-6")
@pytest.mark.parametrize("target", Target)
async def test_storm_of_commands_during_load(judged, kept, target) -> None:
    device = _device(size=16 * MIB, load=LoadBehaviour(write_delay_s=0.03))
    storm = Storm(when=status(target, "active"), target=target)
    run = await judged(Scenario(name="storm", devices=(device,), actions=(storm,), deadline_s=60))
    kept(run, "LIF-6", "ORD-1", "ORD-4")
    assert run.verdict.finding("LIF-6").numbers["before_all_was_loaded"] >= len(storm.commands)


# -- LIF-7 --------------------------------------------------------------------------------


def _in_turn(name: str, *qemus: Path, **fields: Any) -> Scenario:
    """Migrations of one guest from each QEMU to the next."""
    first, *following = [
        Scenario(name=f"{name}-{number}", qemu=str(source), qemu_dst=str(destination), **fields)
        for number, (source, destination) in enumerate(itertools.pairwise(qemus))
    ]
    return msgspec.structs.replace(first, then=tuple(following))


def _all_kept(runs: Sequence[Run], kept, migrations: int) -> None:
    for number, run in enumerate(runs):
        kept(run, "RUN", "ORD-1", "ORD-4", "STA-1", *(["LIF-7"] if number else []))
    assert len(runs) == migrations


@pytest.mark.requirement("LIF-7")
@PATHS
async def test_forth_and_back_and_forth_again(
    judged_in_turn, kept, qemu_src, qemu_dst, path
) -> None:
    devices = (_device(multifd_transfer=path), _device(id="vfio1", seed=2, multifd_transfer=path))
    qemus = (qemu_src, qemu_dst, qemu_src, qemu_dst)
    _all_kept(await judged_in_turn(_in_turn("turn", *qemus, devices=devices)), kept, 3)


@pytest.mark.requirement("LIF-7", "SET-6")
async def test_forth_to_another_version_and_back(
    judged_in_turn, kept, qemu_src, qemu_facts
) -> None:
    """The oldest machine type with the transfer is known to both builds."""
    machine = "pc-q35-10.0"
    version = qemu_facts[0].facts.version
    others = [path for path in fetched.binaries() if builds.version_of(path)[:2] != version[:2]]
    if not others:
        pytest.skip("there is no build of another version: vfio-multifd qemu fetch")
    scenario = _in_turn(
        "versions", qemu_src, others[0], qemu_src, others[0],
        devices=(_device(),), machine=machine,
    )  # fmt: skip
    _all_kept(await judged_in_turn(scenario), kept, 3)


# -- LIF-8 --------------------------------------------------------------------------------

LARGE = 96 * MIB
KEPT_SMALL_KIB = 32 * 1024  # far below LARGE: the queue was never that long


async def _memory_of(judged, kept, device: EmulatedDevice, **fields: Any) -> dict[str, Any]:
    run = await judged(Scenario(name="memory", devices=(device,), deadline_s=30, **fields))
    kept(run, "LIF-8")
    return dict(run.verdict.finding("LIF-8").numbers)


@pytest.mark.requirement("LIF-8")
async def test_memory_is_that_of_the_queue_before_a_slow_device(judged, kept) -> None:
    slow = _device(
        size=LARGE, data_path=DataPath.SUPERVISED, load=LoadBehaviour(write_delay_s=0.02)
    )
    numbers = await _memory_of(judged, kept, slow, relay=True)
    assert numbers["is_queue_seen"]
    assert numbers["queued_kib"] > LARGE // 4 // 1024, "nothing was queued: nothing was proved"
    assert numbers["grown_kib"] > LARGE // 4 // 1024


@pytest.mark.requirement("LIF-8")
async def test_memory_stays_small_where_the_device_keeps_up(judged, kept) -> None:
    device = _device(size=LARGE, data_path=DataPath.SUPERVISED)
    pace = Pace(bytes_per_s=64 * MIB)
    numbers = await _memory_of(judged, kept, device, faults=(pace,))
    assert numbers["is_queue_seen"]
    assert numbers["grown_kib"] < KEPT_SMALL_KIB


@pytest.mark.requirement("LIF-8")
async def test_memory_returns_where_nobody_watches(judged, kept) -> None:
    await _memory_of(judged, kept, _device(size=LARGE))


@pytest.mark.requirement("LIF-5")
async def test_device_that_fails_is_seen_by_the_harness(judged) -> None:
    """What the error looks like to the device: an answer of EIO at the byte that was asked for."""
    run = await judged(Scenario(name="seen", devices=(_device(save=SaveBehaviour(error_at=100)),)))
    failed = [read for read in of(run, Read) if read.args.errno]
    assert [(read.side, read.args.errno, read.args.offset) for read in failed] == [
        (Side.SOURCE, 5, 100)
    ]
    assert not [write for write in of(run, Write) if write.args.errno]
    assert run.verdict.finding("LIF-5").outcome is Outcome.VALID
