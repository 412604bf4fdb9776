"""SET-1 to SET-4 and SET-8: the transfer is on where it can be, and says why where not."""

from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.history import Kind, Side
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario, Transport

SMALL = 3 * MIB + 17


def _device(**fields: Any) -> EmulatedDevice:
    return EmulatedDevice(**{"id": "vfio0", "size": SMALL, **fields})


@pytest.mark.requirement("SET-1")
@pytest.mark.parametrize("multifd", [True, False], ids=["multifd", "no multifd"])
@pytest.mark.parametrize("transfer", [*OnOffAuto, None])
async def test_transfer_setting_decides_the_path(judged, kept, transfer, multifd) -> None:
    device = _device(multifd_transfer=transfer)
    kept(await judged(Scenario(name="setting", multifd=multifd, devices=(device,))), "SET-1")


@pytest.mark.requirement("SET-2")
@pytest.mark.parametrize("transfer", [OnOffAuto.ON, OnOffAuto.AUTO])
@pytest.mark.parametrize("method", ["zlib", "zstd"])
async def test_compression_excludes_the_transfer(judged, kept, method, transfer) -> None:
    scenario = Scenario(
        name="compression",
        devices=(_device(multifd_transfer=transfer),),
        parameters={"multifd-compression": method},
    )
    kept(await judged(scenario), "SET-1", "SET-2")


@pytest.mark.requirement("SET-2")
@pytest.mark.parametrize("transfer", [OnOffAuto.ON, OnOffAuto.AUTO])
async def test_mapped_ram_excludes_the_transfer(judged, kept, transfer) -> None:
    scenario = Scenario(
        name="mapped-ram",
        devices=(_device(multifd_transfer=transfer),),
        capabilities={"mapped-ram": True},
        return_path=False,
        transport=Transport.FILE,
    )
    kept(await judged(scenario), "SET-1", "SET-2")


@pytest.mark.requirement("SET-3")
@pytest.mark.parametrize("machine", ["pc-q35-9.2", "pc-q35-9.1", "pc-i440fx-9.2"])
async def test_machine_type_before_10_has_the_transfer_off(
    judged, kept, qemu_facts, machine
) -> None:
    for probe in qemu_facts:
        assert machine in probe.machines, f"{probe.facts.path} has no machine {machine}"
    scenario = Scenario(name="machine", machine=machine, devices=(_device(multifd_transfer=None),))
    kept(await judged(scenario), "SET-1", "SET-3")


@pytest.mark.requirement("SET-4")
@pytest.mark.parametrize("count", [1, 2, 4, 8], ids="{} devices".format)
@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16], ids="{} channels".format)
async def test_any_number_of_channels_and_devices(judged, kept, channels, count) -> None:
    devices = tuple(_device(id=f"vfio{n}", seed=n) for n in range(count))
    run = await judged(Scenario(name="matrix", channels=channels, devices=devices))
    kept(run, "ORD-1", "ORD-4", "ORD-5", "SET-1", "SET-4", "STA-1", "STA-3")


@pytest.mark.requirement("SET-4")
async def test_tcp_carries_it_as_well(judged, kept) -> None:
    kept(await judged(Scenario(name="tcp", transport=Transport.TCP)), "ORD-1", "SET-4")


@pytest.mark.requirement("SET-8")
@pytest.mark.parametrize(
    "device",
    [
        _device(stop_copy=False, enable_migration=OnOffAuto.AUTO),
        _device(enable_migration=OnOffAuto.OFF),
        _device(dma_logging=False, enable_migration=OnOffAuto.AUTO),
    ],
    ids=["no migration in the kernel", "migration off", "no dirty tracking"],
)
async def test_device_that_cannot_migrate_blocks_migration(judged, kept, device) -> None:
    run = await judged(Scenario(name="blocked", devices=(device,)))
    kept(run, "SET-8")
    assert not [
        record
        for record in run.history.records
        if record.side is Side.DESTINATION
        and record.kind is Kind.QMP
        and record.args.get("status") == "active"
    ], "something was sent"


@pytest.mark.requirement("SET-8")
async def test_device_that_must_migrate_but_cannot_is_refused_at_start(judged, kept) -> None:
    device = _device(stop_copy=False, enable_migration=OnOffAuto.ON)
    kept(await judged(Scenario(name="refused", devices=(device,))), "SET-8")


@pytest.mark.requirement("SET-8")
async def test_device_without_dirty_tracking_migrates_when_told_to(judged, kept) -> None:
    device = _device(dma_logging=False, enable_migration=OnOffAuto.ON)
    kept(await judged(Scenario(name="no-tracking", devices=(device,))), "ORD-1", "SET-1")


@pytest.mark.requirement("SET-4")
async def test_final_ram_sync_and_device_state_do_not_deadlock(judged) -> None:
    """Two channels and eight devices: the shape in which the known deadlock is likeliest.

    ``judged`` turns the deadlock, and nothing else, into an expected failure.
    """
    devices = tuple(_device(id=f"vfio{n}", seed=n, size=4 * MIB) for n in range(8))
    scenario = Scenario(name="deadlock", channels=2, devices=devices, deadline_s=5)
    for _ in range(8):
        run = await judged(scenario)
        assert not run.verdict.with_outcome(Outcome.VIOLATED)
