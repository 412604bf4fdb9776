"""ORD-1 to ORD-8: buffers are queued and loaded in order, whatever the settings."""

from typing import Any

import pytest

from harness.history import Side
from harness.history.device import Read
from harness.history.session import GuestBar, GuestConfig
from harness.scenario import MIB, DataPath, EmulatedDevice, LoadBehaviour, SaveBehaviour, Scenario
from tests.records import held

BOTH = (Side.SOURCE, Side.DESTINATION)
BUFFER = MIB  # QEMU's VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE


def _one(name: str, **device: Any) -> Scenario:
    return Scenario(name=name, devices=(EmulatedDevice(id="vfio0", **device),))


@pytest.mark.requirement("ORD-1", "ORD-2", "ORD-3", "ORD-4", "ORD-7")
@pytest.mark.parametrize("data_path", [DataPath.MEMFD, DataPath.SUPERVISED])
async def test_state_arrives_whole_and_in_order(judged, kept, data_path) -> None:
    run = await judged(_one("order", data_path=data_path))
    kept(run, "ORD-1", "ORD-2", "ORD-3", "ORD-4", "ORD-5", "ORD-7", "STA-1", "STA-2", "STA-3")


@pytest.mark.requirement("ORD-2", "ORD-3")
async def test_slow_device_does_not_stop_the_queue(judged, kept) -> None:
    run = await judged(
        _one("slow", size=24 * MIB, load=LoadBehaviour(write_delay_s=0.03), save=SaveBehaviour())
    )
    kept(run, "ORD-1", "ORD-2", "ORD-3")
    assert run.verdict.finding("ORD-3").numbers, "the rule measured nothing"


@pytest.mark.requirement("ORD-2", "ORD-3")
async def test_load_thread_sleeps_while_the_source_is_slow(judged, kept) -> None:
    run = await judged(_one("slow-source", size=6 * MIB, save=SaveBehaviour(read_delay_s=0.02)))
    kept(run, "ORD-1", "ORD-2", "ORD-3")
    starved = [
        record
        for record in run.history.records
        if record.name == "vfio_load_state_device_buffer_starved"
    ]
    assert starved, "a destination that never waited proves nothing about waiting"


@pytest.mark.requirement("ORD-4")
async def test_config_space_and_bar_are_the_guests_own_again(judged, kept) -> None:
    run = await judged(_one("config", size=MIB))
    kept(run, "ORD-4")
    here, there = (held(run, GuestConfig, side)[-1].registers for side in BOTH)
    assert there == here
    assert here["0x04"] & 0x6 == 0x6, "the source's device was never set up"
    words, arrived = (held(run, GuestBar, side)[-1].words for side in BOTH)
    assert arrived == words
    assert any(words), "an empty BAR proves nothing"


@pytest.mark.requirement("ORD-5")
@pytest.mark.parametrize(
    "size",
    [1, BUFFER - 1, BUFFER, BUFFER + 1, 64 * BUFFER],
    ids=["1 byte", "buffer - 1", "1 buffer", "buffer + 1", "64 buffers"],
)
async def test_any_size_of_state_is_cut_into_the_right_buffers(judged, kept, size) -> None:
    kept(await judged(_one("size", size=size)), "ORD-1", "ORD-4", "ORD-5", "STA-3")


@pytest.mark.requirement("ORD-5")
async def test_no_data_at_all_puts_config_at_index_0(judged, kept) -> None:
    kept(await judged(_one("empty", size=0, reported_size=4096)), "ORD-4", "ORD-5", "STA-3")


@pytest.mark.requirement("ORD-5")
@pytest.mark.parametrize("reported", [1000, 4 * MIB], ids=["too low", "too high"])
async def test_wrong_estimate_of_the_size_changes_only_the_buffers(judged, kept, reported) -> None:
    kept(await judged(_one("estimate", size=300_000, reported_size=reported)), "ORD-1", "ORD-5")


@pytest.mark.requirement("ORD-5")
async def test_short_reads_make_more_and_smaller_buffers(judged, kept) -> None:
    sizes = (1, 70_000, 4096, BUFFER)
    run = await judged(_one("short-reads", size=5 * MIB, save=SaveBehaviour(read_sizes=sizes)))
    kept(run, "ORD-1", "ORD-5", "STA-1", "STA-3")
    reads = [read.got for read in held(run, Read)]
    assert reads[: len(sizes)] == list(sizes)


@pytest.mark.requirement("ORD-6")
@pytest.mark.parametrize("count", [2, 4, 8])
async def test_each_device_gets_its_own_state(judged, kept, count) -> None:
    devices = tuple(
        EmulatedDevice(id=f"vfio{n}", seed=n, size=MIB * (n + 1) // 2 + n) for n in range(count)
    )
    run = await judged(Scenario(name="devices", devices=devices))
    kept(run, "ORD-1", "ORD-4", "ORD-6", "STA-2", "STA-3", "SET-4")


@pytest.mark.requirement("ORD-7")
@pytest.mark.parametrize("channels", [2, 4, 16])
async def test_state_spreads_over_the_channels(judged, kept, channels) -> None:
    scenario = Scenario(
        name="spread", channels=channels, devices=(EmulatedDevice(id="vfio0", size=64 * MIB),)
    )
    kept(await judged(scenario), "ORD-1", "ORD-7", "SET-4")


@pytest.mark.requirement("ORD-8")
@pytest.mark.parametrize("sizes", [(4096,), (1, 100_000, 7)], ids=["pages", "uneven"])
async def test_device_that_takes_part_of_a_write_gets_the_rest(judged, kept, sizes) -> None:
    load = LoadBehaviour(write_sizes=sizes)
    kept(await judged(_one("partial", size=2 * MIB + 3, load=load)), "ORD-1", "ORD-8")


@pytest.mark.requirement("ORD-1")
async def test_precopy_share_and_stop_copy_share_make_one_state(judged, kept) -> None:
    run = await judged(
        _one(
            "precopy",
            size=8 * MIB,
            pre_copy=True,
            precopy_initial_bytes=3 * MIB,
            precopy_dirty_bytes=500_000,
        )
    )
    kept(run, "ORD-1", "ORD-4", "STA-2")
    in_precopy = [r for r in run.history.records if r.name == "vfio_load_state_device_data"]
    assert sum(r.args["data_size"] for r in in_precopy), "nothing went in pre-copy"


@pytest.mark.requirement("ORD-1")
@pytest.mark.parametrize("p2p", [True, False])
async def test_device_without_p2p_migrates_alone(judged, kept, p2p) -> None:
    kept(await judged(_one("p2p", size=MIB, p2p=p2p)), "ORD-1", "STA-2")
