"""Functions of ivshmem with the rig's own variant driver: a state of 16 MiB and more in the
kernel, compared byte by byte, and judged as that of an emulated device is.
"""

from typing import Any

import pytest

from harness.devices.ivshmem_driver import DEBUGFS
from harness.devices.pci_bus import PciBus
from harness.history import Side
from harness.history.device import Bound, Received, Sent
from harness.job.run import Run
from harness.scenario import MIB, DriverParameters, IvshmemDevice, Scenario
from harness.scenario import fault_plan as f
from harness.scenario.fault_plan import Order

DEADLINE_S = 60.0
SLOW = DriverParameters(read_delay_us=50_000)
"""So that no state is queued before the final RAM synchronisation is over (SET-4)."""
ALL = ("RUN", "ORD-1", "ORD-2", "ORD-3", "ORD-4", "SET-1", "STA-1", "STA-2", "STA-3")


def _scenario(*devices: IvshmemDevice, **fields: Any) -> Scenario:
    defaults = {"name": "ivshmem", "ram_mib": 16, "deadline_s": DEADLINE_S}
    return Scenario(devices=devices, **{**defaults, **fields})


def _device(number: int = 0, **fields: Any) -> IvshmemDevice:
    plain = IvshmemDevice(id="vfio0").copy(f"vfio{number}", number)
    return IvshmemDevice(
        id=plain.id,
        source=plain.source,
        destination=plain.destination,
        **{"seed": plain.seed, "at_source": SLOW, "at_destination": SLOW, **fields},
    )


def _only(run: Run, kind: type, side: Side) -> Any:
    (found,) = (r.args for r in run.history.records if type(r.args) is kind and r.side is side)
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """The functions have no driver before a test, and none after it."""
    bus = PciBus()

    def state():
        found = [each for each in bus.functions() if each.kind == "1af4:1110"]
        commands = [(bus.device(each.address) / "config").read_bytes()[4:6] for each in found]
        return found, commands

    before, commands = state()
    assert {each.driver for each in before} == {""}
    assert len({each.group for each in before}) == len(before) == 6
    yield
    assert state() == (before, commands)
    assert list(DEBUGFS.iterdir()) == []


@pytest.mark.requirement(*ALL)
async def test_state_of_16_mib(judged, kept):
    run = await judged(_scenario(_device(), channels=4))
    kept(run, *ALL)
    bound = _only(run, Bound, Side.SOURCE)
    assert (bound.driver, bound.found_with) == ("ivshmem_vfio_pci", "")
    sent, received = _only(run, Sent, Side.SOURCE), _only(run, Received, Side.DESTINATION)
    assert sent.bytes == received.bytes == 16 * MIB + 32
    assert sent.digest == received.digest == received.expected_digest
    finding = run.verdict.finding("ORD-1")
    assert finding.numbers == {"devices_compared": 1, "loads": 17}


@pytest.mark.requirement(*ALL, "ORD-6", "LIF-7")
async def test_two_pairs_in_another_order_forth_and_back(judged_in_turn, kept):
    """One with pre-copy; the relay shuffles their packets and moves them between channels."""
    devices = _device(0), _device(1, pre_copy=True, precopy_initial_bytes=3 * MIB)
    faults = f.Reorder(order=Order.SHUFFLED), f.MoveToChannel()
    back = _scenario(*devices, name="back")
    run, second = await judged_in_turn(_scenario(*devices, faults=faults, then=(back,)))
    kept(run, *ALL, "ORD-6")
    kept(second, *ALL, "ORD-6", "LIF-7")
