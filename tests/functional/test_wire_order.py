"""ORD-1 to ORD-8, STA-1 to STA-3 with a relay that changes order, channel, time or size."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from harness.history import Event, Record, Side, plain
from harness.history.device import Received, Write
from harness.history.wire import Fault, MainResumed, Packet, PacketIn, PacketOut
from harness.job.run import Run
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    LoadBehaviour,
    SaveBehaviour,
    Scenario,
)
from harness.scenario import fault_plan as f
from harness.scenario.fault_plan import Order, Select, Until
from tests.records import events, held, of

P = TypeVar("P", bound=Packet)
ORDER = ("ORD-1", "ORD-2", "ORD-3", "ORD-4")
EVERYTHING = (*ORDER, "ORD-5", "STA-1", "STA-2", "STA-3")
ONE_CHANNEL = f.MoveToChannel(channel=0)
"""Channels race with each other; on one of them the order of delivery is that of reading."""
BUFFERS = 6
CONFIG = BUFFERS
"""Index of the configuration of a device with so many buffers."""
INCOMING = "vfio_load_state_device_buffer_incoming"
START = "vfio_load_state_device_buffer_load_start"


def _device(number: int = 0, size: int = BUFFERS * MIB, **fields: Any) -> EmulatedDevice:
    return EmulatedDevice(id=f"vfio{number}", seed=number + 1, size=size, **fields)


def _scenario(*faults: f.Fault, **fields: Any) -> Scenario:
    return Scenario(**{"name": "wire", "devices": (_device(),), "faults": faults, **fields})


def _traced(run: Run, name: str, device: str = "vfio0") -> list[Event]:
    return [r for r in events(run) if r.name == name and r.device == device]


def _packets(run: Run, kind: type[P], device: str = "vfio0") -> Sequence[Record[P]]:
    return of(run, kind, device=device)


def _idx(packet: Packet) -> int:
    assert packet.idx is not None
    return packet.idx


def _delivered(run: Run, device: str = "vfio0") -> list[int]:
    return [_idx(record.args) for record in _packets(run, PacketOut, device)]


def _incoming(run: Run, device: str = "vfio0") -> list[int]:
    return [record.args["idx"] for record in _traced(run, INCOMING, device)]


def _assert_each_came_once(run: Run, device: str = "vfio0", last: int = CONFIG) -> None:
    assert sorted(_delivered(run, device)) == list(range(last + 1))
    assert sorted(_incoming(run, device)) == list(range(last + 1))


def _assert_out_of_order(run: Run, device: str = "vfio0") -> None:
    came = _incoming(run, device)
    assert any(later < earlier for earlier, later in pairwise(came)), came


GIVEN = (3, 0, 6, 1, 5, 2, 4)
ORDERS: dict[str, tuple[Any, Callable[[list[int]], bool]]] = {
    "reversed": (Order.REVERSED, lambda came: came == [6, 5, 4, 3, 2, 1, 0]),
    "config first": (Order.CONFIG_FIRST, lambda came: came[0] == CONFIG),
    "index 0 last": (Order.INDEX_0_LAST, lambda came: came[-1] == 0),
    "given": (GIVEN, lambda came: came == list(GIVEN)),
}


@pytest.mark.requirement(*EVERYTHING)
@pytest.mark.parametrize(
    ("name", "data_path"),
    [*((name, DataPath.MEMFD) for name in ORDERS), ("reversed", DataPath.SUPERVISED)],
)
async def test_strict_order_on_one_channel(judged, kept, name, data_path) -> None:
    order, is_right = ORDERS[name]
    devices = (_device(data_path=data_path),)
    run = await judged(_scenario(f.Reorder(order=order), ONE_CHANNEL, devices=devices))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run)
    assert is_right(_incoming(run)), _incoming(run)
    assert _incoming(run) == _delivered(run)


@pytest.mark.requirement(*EVERYTHING)
async def test_random_order_on_one_channel(judged, kept) -> None:
    run = await judged(_scenario(f.Reorder(order=Order.SHUFFLED), ONE_CHANNEL, seed=5))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run)
    _assert_out_of_order(run)
    assert _incoming(run) == _delivered(run)


async def test_same_seed_gives_the_same_order_again(judged) -> None:
    shuffled = _scenario(f.Reorder(order=Order.SHUFFLED), ONE_CHANNEL, seed=11)
    assert _delivered(await judged(shuffled)) == _delivered(await judged(shuffled))


@pytest.mark.requirement("ORD-1", "ORD-7", "STA-3")
@pytest.mark.parametrize(
    ("order", "channels"),
    [(Order.REVERSED, 4), (Order.SHUFFLED, 2), (Order.SHUFFLED, 4), (Order.SHUFFLED, 16)],
    ids=["reversed, 4", "random, 2", "random, 4", "random, 16"],
)
async def test_order_over_many_channels(judged, kept, order, channels) -> None:
    faults = f.Reorder(order=order), f.MoveToChannel()
    count = max(8, 2 * channels)
    devices = (_device(size=count * MIB),)
    run = await judged(_scenario(*faults, devices=devices, channels=channels, seed=channels))
    kept(run, *EVERYTHING, "ORD-7")
    _assert_each_came_once(run, last=count)
    assert {record.channel for record in _packets(run, PacketOut)} == set(range(channels))


@pytest.mark.requirement("ORD-1", "ORD-2", "ORD-6", "STA-2", "STA-3")
@pytest.mark.parametrize("order", list(Order)[:-1], ids=lambda order: order.value)
async def test_several_devices_each_out_of_order(judged, kept, order) -> None:
    devices = tuple(_device(number, size=(3 + number) * MIB) for number in range(3))
    run = await judged(_scenario(f.Reorder(order=order), devices=devices, seed=3))
    kept(run, *ORDER, "ORD-6", "STA-2", "STA-3")
    for number, device in enumerate(devices):
        _assert_each_came_once(run, device.id, last=3 + number)


@pytest.mark.requirement("ORD-6")
async def test_one_device_out_of_order_leaves_the_other_alone(judged, kept) -> None:
    mixed = f.Reorder(order=Order.REVERSED, select=Select(device="vfio1"))
    run = await judged(_scenario(mixed, ONE_CHANNEL, devices=(_device(0), _device(1))))
    kept(run, *ORDER, "ORD-6", "STA-3")
    assert _delivered(run, "vfio1") == list(range(CONFIG, -1, -1))
    came = [record.args.idx for record in _packets(run, PacketIn, "vfio0")]
    assert _delivered(run, "vfio0") == came


@pytest.mark.requirement("ORD-1", "ORD-2")
@pytest.mark.parametrize("channel", range(2))
async def test_one_channel_delayed(judged, kept, channel) -> None:
    late = f.Reorder(order=Order.ONE_CHANNEL_DELAYED, channel=channel)
    spread = f.MoveToChannel()  # in turn, so that the channel has some
    run = await judged(_scenario(spread, late, channels=2))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run)
    went = [record for record in _packets(run, PacketOut) if record.channel == channel]
    delayed = {record.args.idx for record in went}
    others = [r for r in _packets(run, PacketIn) if r.args.idx not in delayed]
    assert went
    assert min(r.t_ns for r in went) > max(r.t_ns for r in others)


HELD = {"first": (0, None), "middle": (3, None), "last": (BUFFERS - 1, None), "config": (6, True)}


@pytest.mark.requirement("ORD-1", "ORD-2", "ORD-3", "ORD-4")
@pytest.mark.parametrize("name", HELD)
async def test_held_until_all_others_went(judged, kept, name) -> None:
    idx, config = HELD[name]
    select = Select(idx=(idx,), config=config)
    run = await judged(_scenario(f.Hold(select=select, until=Until(others=True)), ONE_CHANNEL))
    _assert_each_came_once(run)
    assert _incoming(run)[-1] == idx
    kept(run, *EVERYTHING)


@pytest.mark.requirement("ORD-2")
async def test_last_packet_to_come_needs_no_other_to_be_loaded(judged, kept) -> None:
    """Index 0 comes long after all others: nothing else wakes the load thread."""
    held = f.Hold(select=Select(idx=(0,)), until=Until(delay_s=1.0))
    run = await judged(_scenario(held))
    kept(run, *EVERYTHING, "LIF-1")
    starts = [record.t_ns for record in _traced(run, START)]
    assert len(starts) == BUFFERS
    came = [r.t_ns for r in _traced(run, INCOMING) if r.args["idx"]]
    assert min(starts) - max(came) > 200_000_000


@pytest.mark.requirement("ORD-3")
async def test_all_is_queued_while_the_device_is_slow(judged, kept) -> None:
    """Index 0 is being written while the others come, the last first."""
    slow = _device(size=12 * MIB, load=LoadBehaviour(write_delay_s=0.05))
    last_first = f.Reorder(order=(0, *range(12, 0, -1)))
    pace = f.Pace(bytes_per_s=400 * MIB)
    run = await judged(_scenario(last_first, ONE_CHANNEL, pace, devices=(slow,), channels=2))
    kept(run, *EVERYTHING)
    assert _incoming(run) == [0, *range(12, 0, -1)]
    (first, *_) = [r for r in of(run, Write, device="vfio0") if not r.args.errno]
    came = _traced(run, INCOMING)
    assert [r.args["idx"] for r in came if r.t_ns < first.t_ns][:3] == [0, 12, 11]


@pytest.mark.requirement("ORD-1", "ORD-2")
@pytest.mark.parametrize(
    "fault",
    [
        f.Delay(delay_s=0.1),
        f.Delay(delay_s=0.2, select=Select(channel=1)),
        f.Pace(bytes_per_s=30 * MIB),
        f.Hold(select=Select(idx=(0, 1)), until=Until(packets=2)),
        f.StallMain(until=Until(others=True)),
        f.StallMain(until=Until(delay_s=0.3)),
    ],
    ids=lambda fault: fault.describe(),
)
async def test_time_on_the_way_changes_nothing(judged, kept, fault) -> None:
    # Far enough apart for the first two not to be the last two to come.
    devices = (_device(data_path=DataPath.SUPERVISED, save=SaveBehaviour(read_delay_s=0.02)),)
    spread = f.MoveToChannel()
    run = await judged(_scenario(spread, fault, channels=2, devices=devices))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run)
    assert [fault for fault in held(run, Fault) if fault.position == 1]


@pytest.mark.requirement("ORD-1", "ORD-2")
async def test_packets_that_are_there_before_the_load_begins(judged, kept) -> None:
    """The command that starts the load threads is kept back until everything was delivered."""
    stall = f.StallMain(since="switchover", until=Until(delay_s=0.3))
    run = await judged(_scenario(stall, devices=(_device(size=200_000, reported_size=65536),)))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run, last=4)
    (resumed,) = of(run, MainResumed)
    assert all(record.t_ns < resumed.t_ns for record in _packets(run, PacketOut))
    (began,) = _traced(run, "vfio_load_bufs_thread_start")
    assert began.t_ns > resumed.t_ns


@pytest.mark.requirement("ORD-1", "ORD-5", "STA-3")
@pytest.mark.parametrize("size", [4096, 100_000, MIB - 1, MIB + 1, 4 * MIB, 64 * MIB])
async def test_other_sizes_of_buffers(judged, kept, size) -> None:
    device = _device(size=2 * MIB if size == 4096 else BUFFERS * MIB)
    run = await judged(_scenario(f.Rechunk(size=size), devices=(device,)))
    kept(run, *EVERYTHING)
    count = -(-device.size // size)
    _assert_each_came_once(run, last=count)
    sizes = [r.args.size for r in _packets(run, PacketOut) if not r.args.state_flags]
    assert sum(sizes) == device.size
    assert max(sizes) == min(size, device.size)


@pytest.mark.requirement("ORD-1", "ORD-2", "ORD-3")
@pytest.mark.parametrize("seed", range(3))
async def test_many_small_buffers_in_random_order(judged, kept, seed) -> None:
    faults = f.Rechunk(size=20_000), f.Reorder(order=Order.SHUFFLED), f.MoveToChannel()
    run = await judged(_scenario(*faults, seed=seed))
    kept(run, *EVERYTHING)
    _assert_each_came_once(run, last=-(-BUFFERS * MIB // 20_000))
    _assert_out_of_order(run)


@pytest.mark.requirement("ORD-5")
async def test_short_reads_out_of_order(judged, kept) -> None:
    device = _device(save=SaveBehaviour(read_sizes=(1, 70_000, 4096, MIB)), size=2 * MIB)
    run = await judged(_scenario(f.Reorder(order=Order.REVERSED), ONE_CHANNEL, devices=(device,)))
    kept(run, *EVERYTHING)
    came = _incoming(run)
    assert came == sorted(came, reverse=True)


@pytest.mark.requirement("ORD-5", "REF-3")
@pytest.mark.parametrize("idx", [0, 2, BUFFERS - 1], ids=["first", "middle", "last"])
async def test_empty_buffer_counts_as_loaded(judged, kept, idx) -> None:
    """A payload of 12 bytes is VFIO's header alone."""
    empty = f.Truncate(select=Select(idx=(idx,)), size=12)
    run = await judged(_scenario(empty))
    kept(run, *ORDER, "STA-3")
    (delivered,) = [r for r in _packets(run, PacketOut) if r.args.idx == idx]
    assert delivered.args.size == 0
    assert idx not in [record.args["idx"] for record in _traced(run, START)]
    (received,) = held(run, Received, Side.DESTINATION, "vfio0")
    assert received.bytes == (BUFFERS - 1) * MIB


@pytest.mark.requirement("ORD-5")
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1])
async def test_small_states_config_first(judged, kept, size) -> None:
    device = _device(size=size, reported_size=max(size, 4096))
    order = f.Reorder(order=Order.CONFIG_FIRST)
    faults = (order, ONE_CHANNEL) if size else (ONE_CHANNEL,)
    run = await judged(_scenario(*faults, devices=(device,)))
    kept(run, "ORD-4", "ORD-5", "STA-3")
    _assert_each_came_once(run, last=-(-size // MIB))
    assert _incoming(run)[0] == -(-size // MIB)


@pytest.mark.requirement("ORD-8")
@pytest.mark.parametrize("sizes", [(4096,), (1, 100_000, 7)], ids=["pages", "uneven"])
async def test_part_of_a_write_is_taken_while_all_is_queued(judged, kept, sizes) -> None:
    device = _device(size=2 * MIB, load=LoadBehaviour(write_sizes=sizes))
    run = await judged(_scenario(f.Reorder(order=Order.REVERSED), ONE_CHANNEL, devices=(device,)))
    kept(run, *ORDER, "ORD-8")
    assert _incoming(run) == [2, 1, 0]


@pytest.mark.requirement("STA-1", "STA-3")
async def test_relay_that_does_nothing_sees_what_is_there(judged, kept) -> None:
    run = await judged(_scenario(relay=True, devices=(_device(0), _device(1))))
    kept(run, *EVERYTHING, "ORD-6")
    for device in ("vfio0", "vfio1"):
        _assert_each_came_once(run, device)
        came, went = (
            {_idx(record.args): plain(record) for record in _packets(run, kind, device)}
            for kind in (PacketIn, PacketOut)
        )
        assert came == went
    assert not of(run, Fault)
