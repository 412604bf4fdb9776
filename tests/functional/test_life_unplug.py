"""LIF-12: a device is to be unplugged or plugged while it migrates.

Machine ``pc`` has a bus that devices are unplugged from, through ACPI.  The harness agrees in the
guest's place: it writes the slot's bit to the register that ejects (hw/acpi/pcihp.c).
"""

from typing import Any

import pytest

from harness.scenario import MIB, EmulatedDevice, Scenario
from harness.scenario.action_plan import Execute, Target, When, status
from harness.scenario.main_job import GOES_ON, STAYS_ACTIVE

SOURCE, DESTINATION = Target.SOURCE, Target.DESTINATION
DEVICES = (EmulatedDevice(id="vfio0", size=MIB),)
ANSWERED = When(name="action_ended", kind="session", side="harness", args={"position": 0})
EJECT = {"command-line": "o/w 0xae08 0x4"}
"""Slot 2, which is that of the first device."""
REASON = "not allowed while migrating"


def execute(command: str, when: When, target: Target = SOURCE, **fields: Any) -> Execute:
    return Execute(when=when, target=target, command=command, **fields)


def unplug(when: When, target: Target = SOURCE, **fields: Any) -> Execute:
    return execute("device_del", when, target, arguments={"id": "vfio0"}, **fields)


def scenario(*actions: Any, **fields: Any) -> Scenario:
    given = {"name": "unplug", "machine": "pc", "devices": DEVICES, "parameters": STAYS_ACTIVE}
    return Scenario(actions=actions, **{**given, **fields})


@pytest.mark.requirement("LIF-12")
@pytest.mark.parametrize("at", ["active", "pre-switchover"])
async def test_source_that_migrates_refuses_with_a_reason(judged, kept, at) -> None:
    fields: dict[str, Any] = {}
    if at == "pre-switchover":
        fields = {"capabilities": {"pause-before-switchover": True}, "parameters": {}}
    action = unplug(status(SOURCE, at), refused_with=REASON)
    run = await judged(scenario(action, execute("migrate_cancel", ANSWERED), **fields))
    kept(run, "LIF-12", "LIF-4", "RUN")


@pytest.mark.requirement("LIF-12")
async def test_destination_that_loads_refuses(judged, kept) -> None:
    action = unplug(status(DESTINATION, "active"), DESTINATION)
    goes_on = execute("migrate-set-parameters", ANSWERED, arguments=GOES_ON)
    kept(await judged(scenario(action, goes_on)), "LIF-12", case="device_del while it loads")


@pytest.mark.requirement("LIF-12")
async def test_earlier_request_is_not_done_while_the_source_migrates(judged_in_turn, kept) -> None:
    """The first migration is called off; the guest agrees in the second one."""
    agrees = execute("human-monitor-command", status(SOURCE, "active"), arguments=EJECT)
    gone = When(name="DEVICE_DELETED", side="source")
    then = scenario(agrees, execute("migrate_cancel", gone), name="then")
    first = scenario(
        execute("migrate_cancel", status(SOURCE, "active")),
        unplug(status(SOURCE, "cancelled")),
        then=(then,),
    )
    _, run = await judged_in_turn(first)
    kept(run, "LIF-12", case="the guest agrees while the source migrates")


PORT = ("-device", "pcie-root-port,id=rp0,addr=0x10,chassis=1")
NEW = {"driver": "virtio-rng-pci", "id": "new", "bus": "rp0"}
"""A device that both machines can be given, below a port of q35."""


def plug(when: When, target: Target = SOURCE, **fields: Any) -> Execute:
    return execute("device_add", when, target, arguments=NEW, **fields)


@pytest.mark.requirement("LIF-12")
@pytest.mark.parametrize("at", ["setup", "active", "pre-switchover"])
async def test_source_that_migrates_takes_no_new_device(judged, kept, at) -> None:
    fields: dict[str, Any] = {"machine": "q35", "qemu_args": PORT}
    if at == "pre-switchover":
        fields |= {"capabilities": {"pause-before-switchover": True}, "parameters": {}}
    action = plug(status(SOURCE, at), refused_with=REASON)
    run = await judged(scenario(action, execute("migrate_cancel", ANSWERED), **fields))
    kept(run, "LIF-12", "LIF-4", "RUN")


@pytest.mark.requirement("LIF-12")
async def test_destination_that_loads_takes_no_new_device(judged, kept) -> None:
    action = plug(status(DESTINATION, "active"), DESTINATION)
    goes_on = execute("migrate-set-parameters", ANSWERED, arguments=GOES_ON)
    run = await judged(scenario(action, goes_on, machine="q35", qemu_args=PORT))
    kept(run, "LIF-12", case="device_add while it loads")
