"""A guest that runs while it is migrated finds the kernel's own devices whole: mtty's ports."""

from typing import Any

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.devices.vfio_pci import slot_of
from harness.history import Side
from harness.history.guest import Ready, Round
from harness.scenario import EmulatedDevice, MdevDevice, Scenario
from harness.scenario.guest_plan import Guest
from harness.vm import pci_config
from tests.functional.test_guest import said

DEADLINE_S = 60.0
GUEST = Guest(memory_kib=256, rounds=2)
SCRATCH = 7


@pytest.mark.requirement("RUN", "ORD-1", "ORD-4", "ORD-6", "LIF-7")
async def test_guest_is_whole_after_it_went_forth_and_back(judged_in_turn, kept):
    devices = (
        MdevDevice(id="vfio0", type="mtty-2"),
        EmulatedDevice(id="vfio1", size=100_000),
        MdevDevice(id="vfio2"),
    )
    fields: dict[str, Any] = {
        "devices": devices,
        "ram_mib": 16,
        "guest": GUEST,
        "deadline_s": DEADLINE_S,
        "relay": True,
    }
    back = Scenario(name="back", **fields)
    run, second = await judged_in_turn(Scenario(name="forth", then=(back,), **fields))

    kept(run, "RUN", "ORD-1", "ORD-4", "ORD-6")
    kept(second, "RUN", "ORD-1", "ORD-4", "ORD-6", "LIF-7")
    names = [device.id for device in devices]
    (ready,) = said(run.history.records, Side.SOURCE, Ready)
    assert ready == Ready(memory_kib=256, devices=names)
    for each in (run, second):
        here, there = (said(each.history.records, side) for side in (Side.SOURCE, Side.DESTINATION))
        assert len(there) >= GUEST.rounds
        for told in (here[-1], *there):
            assert told.memory == "good"
            assert told.devices == dict.fromkeys(names, "good")
        # A line that the switchover cut in two is no round: one may be missing.
        assert there[0].round - here[-1].round in (1, 2)


@pytest.mark.requirement("ORD-1")
@pytest.mark.scenario(
    ram_mib=16, guest=GUEST, deadline_s=DEADLINE_S, devices=(MdevDevice(id="vfio0", type="mtty-2"),)
)
async def test_guest_notices_a_register_that_is_another(pair_booted):
    """Of the second port, written behind its back once it has arrived."""
    session = pair_booted
    await session.transfer()
    vm = session.destination.vm
    bar = await pci_config.read_config(vm.monitor, slot_of(0), pci_config.BAR0 + 4)
    port = bar & ~3

    def rounds() -> list[Round]:
        return said(session.records, Side.DESTINATION)

    def damages() -> list[str]:
        return [words for r in rounds() if (words := r.devices["vfio0"]) != "good"]

    # Written between a look and the filling that comes with it, or on the very value of the
    # round, it would not be seen: once more then.
    for _ in range(5):
        await vm.monitor.human(pci_config.write_port(port + SCRATCH, 0))
        seen = len(rounds()) + 2
        await vm.activity.until(lambda seen=seen: len(rounds()) >= seen or None, DEADLINE_S)
        if damages():
            break
    words = damages()
    assert words
    assert words[0].startswith(f"damaged: scratch register of port {port:#x}: 0x0, not 0x")
    verdict = judge(await session.stop())
    finding = verdict.finding("ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == f"the guest found BAR 0 of vfio0 {words[0]}"
