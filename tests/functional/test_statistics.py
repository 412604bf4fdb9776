"""STA-1 to STA-3: what QEMU counts and tells is what happened."""

import pytest

from harness.history import Kind, Side
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario


def _transferred(run) -> int:
    return next(
        record.args["value"]["vfio"]["transferred"]
        for record in reversed(run.history.records)
        if record.kind is Kind.QMP
        and record.name == "return"
        and record.side is Side.SOURCE
        and record.args["command"] == "query-migrate"
    )


@pytest.mark.requirement("STA-1")
async def test_headers_count_and_the_config_packet_has_one_size(judged, kept) -> None:
    """What is left beyond data and headers is the config packet: the same for any state."""
    packet_header = 12
    left = set()
    for size, packets in ((1, 1), (MIB, 1), (5 * MIB + 9, 6)):
        devices = (EmulatedDevice(id="vfio0", size=size),)
        run = await judged(Scenario(name="transferred", devices=devices))
        kept(run, "STA-1")
        left.add(_transferred(run) - size - packet_header * packets)
    assert len(left) == 1, f"config packets of different sizes: {left}"


@pytest.mark.requirement("STA-1")
async def test_main_channel_counts_as_well(judged, kept) -> None:
    device = EmulatedDevice(id="vfio0", size=3 * MIB, multifd_transfer=OnOffAuto.OFF)
    kept(await judged(Scenario(name="main", devices=(device,))), "STA-1")


@pytest.mark.requirement("STA-2")
@pytest.mark.parametrize("pre_copy", [True, False])
@pytest.mark.parametrize("p2p", [True, False])
async def test_events_follow_the_device(judged, kept, p2p, pre_copy) -> None:
    device = EmulatedDevice(
        id="vfio0", size=MIB, p2p=p2p, pre_copy=pre_copy, precopy_initial_bytes=100_000
    )
    kept(await judged(Scenario(name="events", devices=(device,))), "STA-2")


@pytest.mark.requirement("STA-3")
async def test_trace_has_one_incoming_event_for_each_packet(judged, kept) -> None:
    devices = tuple(EmulatedDevice(id=f"vfio{n}", seed=n, size=9 * MIB) for n in range(3))
    kept(await judged(Scenario(name="trace", devices=devices, channels=8)), "STA-3")
