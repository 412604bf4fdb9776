"""The emulated device's settings, as a real QEMU meets them."""

import msgspec
import pytest

from harness.history import Side
from harness.history.device import Ioctl, Read, Received, UnknownIoctl, Write
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    LoadBehaviour,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
)
from tests.records import held


def _statuses(run, side: Side) -> list[str]:
    return [
        record.args["status"]
        for record in run.history.records
        if record.side is side and record.name == "MIGRATION"
    ]


@pytest.mark.requirement("LIF-5")
@pytest.mark.parametrize("at", [0, 1, MIB, 5 * MIB + 1])
async def test_read_error_at_byte_n_fails_the_migration(judged, at) -> None:
    device = EmulatedDevice(id="vfio0", save=SaveBehaviour(error_at=at))
    run = await judged(Scenario(name="read-error", devices=(device,)))
    assert _statuses(run, Side.SOURCE)[-1] == "failed"
    assert [read.offset for read in held(run, Read) if read.errno] == [at]


@pytest.mark.requirement("LIF-5")
@pytest.mark.parametrize("at", [0, 1, MIB, 5 * MIB + 1])
async def test_write_error_at_byte_n_fails_the_migration(judged, at) -> None:
    device = EmulatedDevice(id="vfio0", load=LoadBehaviour(error_at=at))
    run = await judged(Scenario(name="write-error", devices=(device,)))
    assert "completed" not in _statuses(run, Side.DESTINATION)
    assert [write.offset for write in held(run, Write) if write.errno] == [at]


async def test_several_gib_fit_into_a_small_harness(judged, kept) -> None:
    """Supervised data is generated and compared on the way: it is never all in memory."""
    device = EmulatedDevice(id="vfio0", size=3 << 30, data_path=DataPath.SUPERVISED)
    run = await judged(Scenario(name="large", devices=(device,), deadline_s=200))
    kept(run, "ORD-1", "ORD-4")
    assert held(run, Received)[0].bytes == 3 << 30


async def test_unknown_ioctl_is_answered_and_recorded(judged, qemu_facts) -> None:
    """QEMU 11 asks for a feature that this device does not have; 10 does not."""
    run = await judged(Scenario(name="unknown", devices=(EmulatedDevice(id="vfio0", size=MIB),)))
    unknown = {unknown.number for unknown in held(run, UnknownIoctl)}
    asks = qemu_facts[0].facts.version >= (11, 0, 0)
    assert any("VFIO_DEVICE_FEATURE" in number for number in unknown) == asks


async def test_qemu_sees_device_dirty_tracking(judged) -> None:
    """With DMA logging QEMU starts and stops it around the migration."""
    device = EmulatedDevice(id="vfio0", size=MIB)
    with_logging = await judged(Scenario(name="logging", devices=(device,)))
    without = await judged(
        Scenario(
            name="no-logging",
            devices=(
                msgspec.structs.replace(device, dma_logging=False, enable_migration=OnOffAuto.ON),
            ),
        )
    )

    def features(run) -> int:
        return sum(
            tally.count
            for tally in held(run, Ioctl, Side.SOURCE)
            if "DEVICE_FEATURE" in tally.ioctl
        )

    assert features(with_logging) > features(without)
