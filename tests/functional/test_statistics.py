"""STA-1 to STA-3: what QEMU counts and tells is what happened."""

import pytest

from harness.history import Kind, Side
from harness.history.process import Stderr
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Target, When
from harness.vm import fetched


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


def _ask(kind: str, name: str, count: int) -> Execute:
    moment = When(kind=kind, name=name, side="source", count=count)
    return Execute(when=moment, target=Target.SOURCE, command="query-migrate")


@pytest.mark.requirement("STA-4")
@pytest.mark.parametrize("number", [0, 1])
async def test_statistics_of_precopy_count_the_device(judged, kept, number) -> None:
    """Asked between blocks of state, and at passes that follow; then it may switch over.

    The reads take longer than the 100 ms in which QEMU 10 allows nothing and switches over.
    """
    device = EmulatedDevice(
        id="vfio0", size=MIB, pre_copy=True, precopy_initial_bytes=2 * MIB,
        precopy_dirty_bytes=3 * MIB, save=SaveBehaviour(read_delay_s=0.04),
    )  # fmt: skip
    switch = Execute(
        when=When(name="MIGRATION_PASS", side="source", count=4),
        target=Target.SOURCE,
        command="migrate-set-parameters",
        arguments={"downtime-limit": 2_000_000, "avail-switchover-bandwidth": 1 << 50},
    )
    asked = [_ask("device", "read", count) for count in (1, 3, 5)]
    asked += [_ask("qmp", "MIGRATION_PASS", count) for count in (2, 3)]
    binary = str(fetched.binaries(is_plain=True)[number])
    scenario = Scenario(
        name="statistics", qemu=binary, qemu_dst=binary, devices=(device,),
        parameters={
            "downtime-limit": 1, "avail-switchover-bandwidth": 1000, "max-bandwidth": 1 << 30
        },
        actions=(*asked, switch),
    )  # fmt: skip
    run = await judged(scenario)
    kept(run, "STA-4", "ORD-1")
    numbers = run.verdict.finding("STA-4").numbers
    assert numbers["samples"] > 1
    counts_all = run.history.manifest.source.version >= (11, 1)
    assert bool(numbers["remaining"]) == counts_all
    stderr = [r.args.line for r in run.history.records if isinstance(r.args, Stderr)]
    assert not [line for line in stderr if "deprecated" in line]
