"""SET-7 and SET-9: when the configuration is loaded, and what the return path is for."""

from typing import Any

import pytest

from harness.history import Side
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario
from harness.scenario.fault_plan import Pace, StallMain, Until

AFTER_ITER = "x-migration-load-config-after-iter"
STALL_S = 0.7


def _device(**fields: Any) -> EmulatedDevice:
    return EmulatedDevice(**{"id": "vfio0", "size": 3 * MIB, **fields})


@pytest.mark.requirement("SET-7")
@pytest.mark.parametrize("setting", ["on", "off"])
async def test_configuration_waits_for_the_main_channel_as_set(
    judged, kept, qemu_facts, setting
) -> None:
    for probe in qemu_facts:
        if AFTER_ITER not in probe.facts.vfio_pci_properties:
            pytest.skip(f"QEMU {probe.facts.version_text} has no {AFTER_ITER}")
    stall = StallMain(until=Until(delay_s=STALL_S))
    run = await judged(
        # So many buffers that the source cannot be done before the first of them came.
        Scenario(
            name="after-iter",
            devices=(_device(size=24 * MIB, properties={AFTER_ITER: setting}),),
            faults=(stall,),
        )
    )
    kept(run, "SET-7", "ORD-1", "ORD-4")
    assert run.verdict.finding("SET-7").numbers["waited"] == {"vfio0": setting == "on"}


@pytest.mark.requirement("SET-9")
@pytest.mark.parametrize("pre_copy", [True, False], ids=["pre-copy", "stop-copy"])
@pytest.mark.parametrize("ack", [True, False], ids=["ack", "no ack"])
async def test_switchover_ack(judged, kept, ack, pre_copy) -> None:
    device = _device(pre_copy=pre_copy, precopy_initial_bytes=2 * MIB if pre_copy else 0)
    scenario = Scenario(name="ack", devices=(device,), capabilities={"switchover-ack": ack})
    run = await judged(scenario)
    kept(run, "SET-9", "ORD-1", "ORD-4")
    assert run.verdict.finding("SET-9").numbers.get("initial", 0) == (
        2 * MIB if ack and pre_copy else 0
    )


@pytest.mark.requirement("SET-9")
@pytest.mark.scenario(devices=(_device(),), return_path=False)
async def test_switchover_ack_needs_the_return_path(pair_booted) -> None:
    for side in (Side.SOURCE, Side.DESTINATION):
        monitor = getattr(pair_booted, side).vm.monitor
        capabilities = [{"capability": "switchover-ack", "state": True}]
        with pytest.raises(Exception, match="requires capability 'return-path'"):
            await monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})


@pytest.mark.requirement("SET-9")
async def test_without_a_return_path_the_main_channel_brings_all(judged, kept) -> None:
    device = _device(multifd_transfer=OnOffAuto.OFF)
    run = await judged(Scenario(name="no-return-path", devices=(device,), return_path=False))
    kept(run, "SET-9", "ORD-1", "ORD-4")


@pytest.mark.requirement("SET-9")
async def test_without_a_return_path_multifd_brings_all(judged, kept) -> None:
    """The relay takes 16 MiB and no more: each channel is full when the source is done."""
    scenario = Scenario(
        name="no-return-path",
        devices=(_device(size=40 * MIB),),
        channels=16,
        return_path=False,
        faults=(Pace(bytes_per_s=16 * MIB),),
        deadline_s=8,
    )
    kept(await judged(scenario), "SET-9", case="no return path")
