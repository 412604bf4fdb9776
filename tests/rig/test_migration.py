"""Migrations of the kernel's own devices: mtty's serial ports, over multifd, through the relay.

What mtty hands over in stop-copy is 36 bytes (one port) or 72 (two); cut into packets of a
byte they make dozens, so that orders, gaps and repetitions reach the kernel's driver.
"""

from typing import Any

import pytest

from harness.job.run import Run
from harness.scenario import EmulatedDevice, MdevDevice, OnOffAuto, Scenario
from harness.scenario import fault_plan as f
from harness.scenario.fault_plan import Order, Select, Until
from tests.records import events

BYTES = {"mtty-1": 36, "mtty-2": 72}
"""Of stop-copy; 24 more, the header, go before in pre-copy (samples/vfio-mdev/mtty.c)."""
DEADLINE_S = 60.0
HANG_S = 10.0
"""For a destination that is to wait: within it, all packets have come."""
ORDER = ("RUN", "ORD-1", "ORD-2", "ORD-3", "ORD-4", "STA-1", "STA-2", "STA-3")
WAITS = "the main thread waits for the load threads"


def _device(number: int = 0, kind: str = "mtty-1", **fields: Any) -> MdevDevice:
    return MdevDevice(id=f"vfio{number}", type=kind, **fields)


def _scenario(*faults: f.Fault, **fields: Any) -> Scenario:
    defaults = {
        "name": "mdev",
        "devices": (_device(),),
        "ram_mib": 16,
        "deadline_s": DEADLINE_S,
        "relay": True,
    }
    return Scenario(faults=faults, **{**defaults, **fields})


def _incoming(run: Run, device: str) -> list[int]:
    """Indices of the packets, in the order in which they came in."""
    return [
        record.args["idx"]
        for record in events(run)
        if record.name == "vfio_load_state_device_buffer_incoming" and record.device == device
    ]


@pytest.mark.requirement("ORD-1", "ORD-4", "ORD-6", "STA-1", "STA-2", "STA-3", "SET-1", "LIF-7")
async def test_several_devices_forth_and_back(judged_in_turn, kept):
    """On each path at once: on, off, and auto, which is on here; and one that is emulated."""
    devices = (
        _device(0),
        _device(1, "mtty-2", multifd_transfer=OnOffAuto.OFF),
        _device(2, "mtty-2", multifd_transfer=OnOffAuto.AUTO),
        EmulatedDevice(id="vfio3", size=100_000),
    )
    back = _scenario(name="back", devices=devices)
    run, second = await judged_in_turn(_scenario(devices=devices, then=(back,)))
    kept(run, *ORDER, "ORD-6", "SET-1", "SET-4")
    kept(second, *ORDER, "ORD-6", "SET-1", "SET-4", "LIF-7")
    for each in (run, second):
        assert [len(_incoming(each, device.id)) for device in devices] == [2, 0, 2, 2]


@pytest.mark.requirement("SET-1")
async def test_transfer_without_multifd_is_refused(judged, kept):
    run = await judged(_scenario(multifd=False))
    kept(run, "SET-1", "RUN")


@pytest.mark.requirement("ORD-1", "ORD-2", "ORD-6")
async def test_dozens_of_packets_in_another_order(judged, kept):
    devices = _device(0), _device(1, "mtty-2")
    shuffled = f.Rechunk(size=1), f.Reorder(order=Order.SHUFFLED), f.MoveToChannel()
    run = await judged(_scenario(*shuffled, devices=devices))
    kept(run, *ORDER, "ORD-6")
    for device in devices:
        came, config = _incoming(run, device.id), BYTES[device.type]
        assert sorted(came) == list(range(config + 1))
        assert came != sorted(came)


@pytest.mark.requirement("LIF-1")
async def test_packet_that_comes_late(judged, kept):
    late = f.Rechunk(size=4), f.Hold(select=Select(idx=(3,)), until=Until(delay_s=2.0))
    run = await judged(_scenario(*late))
    kept(run, "ORD-1", "ORD-2", "ORD-4", "STA-3")
    assert _incoming(run, "vfio0")[-1] == 3


@pytest.mark.requirement("LIF-1")
async def test_packet_that_never_comes_is_waited_for(judged, kept):
    lost = f.Rechunk(size=4), f.Drop(select=Select(idx=(3,)))
    run = await judged(_scenario(*lost, deadline_s=HANG_S))
    assert 3 not in _incoming(run, "vfio0")
    kept(run, "LIF-1", case=WAITS)


@pytest.mark.requirement("REF-1")
async def test_packet_that_comes_twice_is_refused(judged, kept):
    """Late, so that the final RAM synchronisation is over: its own hang is another finding."""
    twice = f.Delay(delay_s=1.5), f.Rechunk(size=4), f.Duplicate(select=Select(idx=(3,)))
    run = await judged(_scenario(*twice, deadline_s=HANG_S))
    assert _incoming(run, "vfio0").count(3) == 2
    kept(run, "REF-1", case=WAITS)
