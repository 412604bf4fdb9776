"""SET-9: switchover-ack with several devices, with old machine types, of a paused guest."""

from collections import Counter
from typing import Any

import pytest

from harness.history.records import Kind, Side
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Target, When, status
from harness.scenario.main_job import GOES_ON, STAYS_ACTIVE
from tests.functional.test_versions import of_each_version

pytest_generate_tests = of_each_version
ACK = {"switchover-ack": True}
INIT_DATA_SENT = 0xFFFFFFFF_EF100005
"""VFIO_MIG_FLAG_DEV_INIT_DATA_SENT of hw/vfio/vfio-migration-internal.h."""


def plain(number: int = 0, **fields: Any) -> EmulatedDevice:
    """Its state is one buffer, which no known deadlock needs."""
    save = SaveBehaviour(read_delay_s=0.02)
    named = {"id": f"vfio{number}", "seed": number + 1, "size": 1000, "save": save}
    return EmulatedDevice(**{**named, **fields})


def precopy(number: int = 0, initial: int = 3 * MIB, **fields: Any) -> EmulatedDevice:
    return plain(number, pre_copy=True, precopy_initial_bytes=initial, **fields)


def flags(run) -> Counter[str]:
    """How often the destination was asked to acknowledge each device's initial bytes."""
    return Counter(
        record.device
        for record in run.history.records
        if (record.kind, record.side, record.name)
        == (Kind.TRACE, Side.DESTINATION, "vfio_load_state")
        and record.args["data"] == INIT_DATA_SENT
    )


async def acknowledged(judged, kept, *devices: EmulatedDevice, **fields: Any) -> None:
    run = await judged(Scenario(name="ack", devices=devices, capabilities=ACK, **fields))
    kept(run, "SET-9", "ORD-1", "SET-1")
    initial = sum(device.precopy_initial_bytes for device in devices)
    assert run.verdict.finding("SET-9").numbers == {"initial": initial}
    assert flags(run) == {device.id: 1 for device in devices if device.pre_copy}


@pytest.mark.requirement("SET-9")
@pytest.mark.parametrize(
    "devices",
    [
        (precopy(0), precopy(1, 2 * MIB + 5, precopy_dirty_bytes=MIB), precopy(2, 0)),
        (plain(0), precopy(1), plain(2)),
        (precopy(0, multifd_transfer=OnOffAuto.OFF), precopy(1)),
    ],
    ids=["pre-copy", "with and without pre-copy", "main channel and multifd"],
)
async def test_each_device_with_pre_copy_is_acknowledged(judged, kept, devices) -> None:
    await acknowledged(judged, kept, *devices)


@pytest.mark.requirement("SET-9")
@pytest.mark.parametrize("machine", ["q35", "pc-q35-10.0"])
async def test_each_machine_type_has_acknowledgements(judged, kept, qemu, machine) -> None:
    """QEMU 11.1 counts them otherwise with the machine types of older versions."""
    devices = [precopy(0, multifd_transfer=None), precopy(1, MIB, multifd_transfer=None)]
    await acknowledged(judged, kept, *devices, machine=machine, qemu=qemu, qemu_dst=qemu)


@pytest.mark.requirement("SET-9")
async def test_guest_that_is_paused_is_not_waited_for(judged, kept) -> None:
    """It is paused long before its initial bytes are read, and may not leave before that."""
    stop = Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="stop")
    go_on = Execute(
        when=When(name="STOP", side="source"),
        target=Target.SOURCE,
        command="migrate-set-parameters",
        arguments=GOES_ON,
    )
    device = precopy(initial=10 * MIB, save=SaveBehaviour(read_delay_s=0.05))
    scenario = Scenario(
        name="ack",
        devices=(device,),
        capabilities=ACK,
        parameters=STAYS_ACTIVE,
        actions=(stop, go_on),
    )
    kept(await judged(scenario), "SET-9", "LIF-10", "ORD-1")
