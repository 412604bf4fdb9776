"""Devices behind vfio-user servers: QEMU's vfio-pci migrates them, and a server that fails is no
fault of QEMU's.
"""

import pytest

from harness.devices.vfio_user import VfioUserDevices
from harness.errors import DeviceLost
from harness.history import Side
from harness.history.device import Arc, Config, Read, Received, ServerFault, Write
from harness.history.rundir import RunDir
from harness.scenario import MIB, LoadBehaviour, OnOffAuto, SaveBehaviour, Scenario
from harness.scenario.devices import MigrationState, RefusedArc, VfioUserDevice
from harness.scenario.fault_plan import Order, Reorder
from harness.scenario.vfio_user import ServerDoes, VfioUserClient
from harness.scenario.vfio_user import ServerFault as Planned
from harness.session.session import Session
from harness.vm import fetched
from tests.records import held


def device(id="vfio0", **fields) -> VfioUserDevice:
    """Its state is one buffer, which no known deadlock needs."""
    return VfioUserDevice(id=id, **{"size": 100_000, **fields})


def failing(does, command, side, **fields) -> Scenario:
    faults = (Planned(side=side, command=command, does=does),)
    return Scenario(name=does, devices=(device(server_faults=faults, **fields),))


async def test_state_goes_from_server_to_server_byte_by_byte(judged, kept) -> None:
    run = await judged(Scenario(name="plain", devices=(device(),)))
    kept(run, "RUN", "ORD-1", "ORD-4", "ORD-5", "STA-2")
    (received,) = held(run, Received)
    assert (received.bytes, received.first_difference) == (100_000, -1)
    assert sum(read.got for read in held(run, Read)) == 100_000
    assert sum(write.got for write in held(run, Write)) == 100_000


async def test_packets_of_two_servers_in_another_order(judged, kept) -> None:
    slow = SaveBehaviour(read_delay_s=0.02)
    devices = (
        device("a", size=3 * MIB + 5, save=slow),
        device("b", seed=7, save=SaveBehaviour(read_sizes=(70_000, 1))),
    )
    run = await judged(
        Scenario(name="order", devices=devices, faults=(Reorder(order=Order.REVERSED),))
    )
    kept(run, "ORD-1", "ORD-6")


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ({"save": SaveBehaviour(error_at=0)}, Side.SOURCE),
        ({"load": LoadBehaviour(error_at=0)}, Side.DESTINATION),
    ],
    ids=["read", "write"],
)
async def test_error_of_a_server_fails_the_migration(judged, fields, side) -> None:
    run = await judged(Scenario(name="error", devices=(device(**fields),)))
    calls: list[Read | Write] = [*held(run, Read, side), *held(run, Write, side)]
    failed = [call for call in calls if call.errno]
    assert [(call.offset, call.got, call.errno) for call in failed] == [(0, 0, 5)]
    assert run.verdict.finding("LIF-5") is not None


@pytest.mark.requirement("ARC-1")
async def test_arc_that_a_server_refuses_fails_the_migration(judged, kept) -> None:
    refuses = (RefusedArc(side="destination", to=MigrationState.RESUMING),)
    run = await judged(Scenario(name="arc", devices=(device(refuses=refuses),)))
    kept(run, "ARC-1")
    assert held(run, Arc, Side.DESTINATION)[0].errno == 5


@pytest.mark.parametrize(
    ("does", "command", "side", "words"),
    [
        (ServerDoes.DIE, "MIG_DATA_READ", "source", "ended the connection at MIG_DATA_READ"),
        (ServerDoes.DIE, "MIG_DATA_WRITE", "destination", "the connection at MIG_DATA_WRITE"),
        (ServerDoes.CUT, "MIG_DATA_READ", "source", "a piece of state of 100000 bytes"),
        (ServerDoes.WRONG_ID, "MIG_DATA_WRITE", "destination", "the reply to MIG_DATA_WRITE"),
    ],
)
async def test_server_that_is_lost_loses_the_run(judged, does, command, side, words) -> None:
    """It is no verdict on QEMU, which was given an error."""
    with pytest.raises(DeviceLost) as it:
        await judged(failing(does, command, side))
    assert str(it.value).startswith(f"{side}: vfio0: the vfio-user server is lost: it ")
    assert words in str(it.value)
    assert it.value.exit_status == 3


async def test_server_that_stalls_is_no_hang_of_qemu(judged) -> None:
    with pytest.raises(DeviceLost, match=r"it has not answered \w+ within 4 s"):
        await judged(failing(ServerDoes.STALL, "MIG_DATA_WRITE", "destination", reply_limit_s=4))


@pytest.mark.parametrize("does", [ServerDoes.PAD, ServerDoes.SEND_FDS])
async def test_server_may_pad_a_reply_and_send_descriptors(judged, kept, does) -> None:
    run = await judged(failing(does, "MIG_DATA_READ", "source"))
    kept(run, "RUN", "ORD-1")
    assert len(held(run, ServerFault)) == 1


@pytest.mark.scenario(devices=(device(),))
async def test_servers_know_the_guests_memory(pair_booted) -> None:
    for peer in (pair_booted.source, pair_booted.destination):
        (kind,) = peer.devices.kinds
        maps = kind.servers["vfio0"].target.maps
        assert sum(length for _, length in maps) >= pair_booted.scenario.ram_mib * MIB


# -- QEMU's own client ----------------------------------------------------------------


def of_qemu(**fields) -> Scenario:
    """With the newest build: vfio-user-pci is of 10.1 and later."""
    binary = str(fetched.binaries(is_plain=True)[-1])
    spec = device(
        client=VfioUserClient.QEMU,
        enable_migration=OnOffAuto.AUTO,
        multifd_transfer=None,
        **fields,
    )
    return Scenario(name="of-qemu", qemu=binary, qemu_dst=binary, devices=(spec,))


async def test_qemus_client_sees_registers_and_bar_of_a_server(results_dir) -> None:
    wanted = of_qemu(vendor_id=0xABCD, bar_size=8192)
    async with Session(wanted, RunDir.create(results_dir, "run")) as session:
        assert await session.boot()
        (bus,) = await session.source.vm.monitor.execute("query-pci")
        found = next(each for each in bus["devices"] if each["qdev_id"] == "vfio0")
        assert found["id"]["vendor"] == 0xABCD
        assert {each["bar"]: each["size"] for each in found["regions"]}[0] == 8192
        (kind,) = session.source.devices.kinds
        assert isinstance(kind, VfioUserDevices)
        target = kind.servers["vfio0"].target
        assert sum(length for _, length in target.maps) >= wanted.ram_mib * MIB
        assert {"VERSION", "REGION_READ", "DEVICE_RESET"} <= target.asked.keys()
        await session.stop()


@pytest.mark.requirement("SET-8")
async def test_qemus_client_migrates_without_the_state(judged, kept) -> None:
    run = await judged(of_qemu())
    ours, theirs = held(run, Config)
    assert ours.scratch != theirs.scratch, "the destination's device has what it had"
    kept(run, "SET-8", case="vfio-user-pci has no migration")
