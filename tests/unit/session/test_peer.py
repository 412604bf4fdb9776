"""One side: how its QEMU is started, set up and handed over."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import CannotRunHere, LaunchError, PrerequisiteMissing
from harness.history import Kind, Record, Side
from harness.history.process import DataFds, Launched, Resources
from harness.scenario import Scenario
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest, GuestKind
from harness.session import peer as module
from harness.session.log import Log, SideLog
from harness.session.peer import Peer
from harness.vm import guest_image, lacking, migration
from harness.vm.activity import Activity
from harness.vm.credentials import NO_TLS

FIRMWARE = Path("/run/halt.bin")
SCENARIO = Scenario(name="guest", ram_mib=LINUX_RAM_MIB, guest=Guest())


@pytest.fixture
def peer():
    console: Any = SimpleNamespace(fd=7, options=lambda: ["-serial", "chardev:console"])
    log = SideLog(Side.SOURCE, Log())
    return Peer(log, Path("/qemu"), None, None, None, Path("/trace"), console)


def test_without_a_guest_the_firmware_is_all(peer):
    peer.console = None
    plain = Scenario(name="plain")
    assert peer._boot(plain, FIRMWARE) == (("-bios", "/run/halt.bin"), ())


def test_guest_is_booted_with_its_console(peer, monkeypatch):
    image = guest_image.GuestImage(Path("/c/vmlinuz"), Path("/c/initrd"))
    asked: list[Path] = []
    monkeypatch.setattr(guest_image, "find", lambda: image)
    monkeypatch.setattr(lacking, "of_firmware", asked.append)
    options, fds = peer._boot(SCENARIO, FIRMWARE)
    assert options[:2] == ["-kernel", "/c/vmlinuz"]
    assert "console=ttyS0 quiet no_timer_check memory_kib=4096" in options
    assert options[-2:] == ["-serial", "chardev:console"]
    assert fds == [7]
    assert asked == [peer.binary]


def test_firmware_is_booted_with_its_console(peer):
    quick = Scenario(name="quick", guest=Guest(kind=GuestKind.FIRMWARE, memory_kib=64))
    boots = ["-bios", "/run/halt.bin", "-serial", "chardev:console"]
    assert peer._boot(quick, FIRMWARE) == (boots, [7])


def test_guest_that_is_not_built_is_missing(peer, monkeypatch, tmp_path):
    find = guest_image.find
    monkeypatch.setattr(guest_image, "find", lambda: find(tmp_path))
    monkeypatch.setattr(lacking, "of_firmware", lambda _binary: None)
    with pytest.raises(PrerequisiteMissing, match="make guest"):
        peer._boot(SCENARIO, FIRMWARE)


# -- a program that passes for a QEMU ----------------------------------------------------


@pytest.fixture
async def made(scenario, tmp_path):
    """Makes the source of a scenario; it is ended afterwards."""
    peers = []

    def make(source=None, side=Side.SOURCE, other=None, **fields):
        wanted = scenario(source, **fields)
        folder = tmp_path / f"run{len(peers)}"
        folder.mkdir()
        activity = other.vm.activity if other else Activity()
        peer = Peer.make(side, wanted, folder, "", Log(), activity, other)
        peers.append(peer)
        return peer, wanted

    yield make
    for peer in peers:
        await peer.give_up()
        if peer.vm.process is not None and peer.vm.process.pid:
            await peer.vm.process.wait(60)


@pytest.fixture
def started(made, tmp_path):
    """Makes a source, launches it and sets it up."""

    async def start(source=None, **fields):
        peer, wanted = made(source, **fields)
        assert await peer.launch(wanted, tmp_path / "halt.bin")
        assert await peer.get_ready(wanted, NO_TLS) == ""
        return peer, wanted

    return start


async def test_qemu_is_launched_asked_and_set_up(started):
    peer, _ = await started()
    assert peer.is_up
    assert peer.is_configured
    assert peer.known_facts.version == (10, 0, 2)
    assert (await peer.vm.monitor.execute("query-migrate-parameters"))["multifd-channels"] == 4
    assert peer.end is None
    peer.vm.kill()
    await peer.vm.process.wait(60)
    assert peer.end == "gone"


async def test_one_that_refuses_to_start_is_known_by_its_build(made, tmp_path):
    peer, wanted = made({"refuses_to_start": "no"})
    assert not await peer.launch(wanted, tmp_path / "halt.bin")
    assert peer.known_facts.version == (10, 0, 2)
    assert peer.end == "gone"


async def test_one_that_was_not_executed_has_said_nothing(made, tmp_path):
    peer, wanted = made()
    peer.binary = tmp_path / "gone"
    with pytest.raises(LaunchError):
        await peer.launch(wanted, tmp_path / "halt.bin")


def test_version_of_one_that_never_came_up_is_none(made):
    assert made()[0].known_facts.version == (0, 0, 0)


async def test_setting_that_the_build_lacks_cannot_run_here(made, tmp_path):
    schema = [
        {"name": name, "arg-type": number, "members": []}
        for number, name in enumerate(("migrate-set-capabilities", "migrate-set-parameters"))
    ] + [{"name": number, "members": []} for number in range(2)]
    peer, wanted = made(
        {
            "refuses": {"migrate-set-parameters": "Parameter 'x' is unexpected"},
            "answers": {"query-qmp-schema": schema},
        }
    )
    await peer.launch(wanted, tmp_path / "halt.bin")
    with pytest.raises(CannotRunHere, match=r"this build cannot do it: .* is unexpected"):
        await peer.get_ready(wanted, NO_TLS)


async def test_handed_over_destination_is_the_source_of_the_next_migration(started):
    peer, wanted = await started(then=(Scenario(name="again", devices=()),))
    peer.log.move(Side.DESTINATION, first := Log())
    first(Record.of(5, Side.DESTINATION, Launched(["qemu"], 7)))
    await peer.vm.monitor.execute("migrate-set-parameters", {"downtime-limit": 5})
    peer.vm.monitor.events.append(Record(6, Side.DESTINATION, Kind.QMP, "RESUME"))
    assert peer.end == "completed"
    peer.hand_over()
    assert first.records[-1].name == "handed_over"

    peer.take_over(second := Log())
    assert peer.side is Side.SOURCE
    assert peer.events == []
    assert peer.end is None, "its events are those of the migration before"
    (launched,) = list[Any](second.records)
    assert (launched.side, launched.args.pid) == (Side.SOURCE, 7)
    assert launched.t_ns > 5

    await peer.configure(wanted, NO_TLS)
    parameters = await peer.vm.monitor.execute("query-migrate-parameters")
    assert parameters["downtime-limit"] == migration.DOWNTIME_LIMIT_MS
    assert not [record for record in first.records if record.side is Side.SOURCE]


async def test_guest_that_was_paused_stays_paused_in_the_next_migration(started):
    peer, _ = await started()
    assert not peer.is_paused
    peer.log.move(Side.DESTINATION, Log())
    assert peer.is_paused, "nothing has resumed it"
    peer.take_over(Log())
    assert peer.is_paused
    await peer.vm.monitor.execute("cont")
    assert not peer.is_paused


async def test_how_it_went_is_asked_of_one_that_answers(started):
    peer, _ = await started()
    await peer.ask_how_it_went()
    asked = [r.args["command"] for r in peer.log.records if r.name == "return"]
    assert asked[-2:] == ["query-migrate", "query-status"]
    peer.vm.is_stuck = True
    before = len(peer.log.records)
    await peer.ask_how_it_went()
    assert len(peer.log.records) == before


async def test_build_that_writes_no_trace_is_named(started, tmp_path, new_qemu):
    events = tmp_path / "trace"
    events.mkdir()
    (events / "trace-events-all").write_text('vfio_x(int a) "a %d"\n')
    peer, _ = await started(trace=("vfio_x",))
    with pytest.raises(PrerequisiteMissing, match="wrote no trace: it needs the log trace backend"):
        peer.read_trace(0)


async def test_without_patterns_there_is_no_trace_to_read(started):
    peer, _ = await started()
    assert peer.read_trace(0) == []


async def test_one_that_was_given_up_is_gone(started):
    peer, _ = await started()
    await peer.give_up()
    await peer.vm.process.wait(60)
    assert not peer.vm.is_running
    await peer.give_up()


@pytest.mark.parametrize("looks", [1, 3])
async def test_what_is_left_is_recorded_once_it_is_no_more_than_before(peer, monkeypatch, looks):
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    booted = Resources("booted", {"socket": 1}, {"qemu": 1})
    peer.log(Record.of(1, Side.SOURCE, booted))
    seen: list[str] = []

    def resources(at):
        seen.append(at)
        threads = {"qemu": 1, "pool-0": 1, "mig/src/main": 1 if len(seen) < looks else 0}
        return Resources(at, {"socket": 1}, threads)

    recorded: list[str] = []
    process = SimpleNamespace(resources=resources)
    peer.vm = SimpleNamespace(process=process, is_stuck=False, record_resources=recorded.append)
    await peer.record_what_is_left()
    assert len(seen) == looks
    assert recorded == ["ended"]


@pytest.mark.parametrize(("looks", "left"), [([0], 0), ([1, 1, 0], 0), ([2], 2)])
async def test_data_fds_are_given_time_to_be_closed(peer, monkeypatch, looks, left):
    """The last look is repeated until the time is over."""
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "_LEFT_S", 0.1)
    seen: list[int] = []

    def data_fds():
        seen.append(looks[min(len(seen), len(looks) - 1)])
        return seen[-1]

    process = SimpleNamespace(data_fds=data_fds, pid=None)
    peer.vm = SimpleNamespace(process=process, is_stuck=False, is_running=True)
    await peer.record_data_fds()
    assert peer.log.records[-1].args == DataFds(left)


@pytest.mark.parametrize("gone", [{"is_stuck": True}, {"is_running": False}])
async def test_data_fds_of_a_qemu_that_does_not_answer_are_not_recorded(peer, gone):
    process = SimpleNamespace(data_fds=lambda: 0, pid=None)
    peer.vm = SimpleNamespace(**{"process": process, "is_stuck": False, "is_running": True, **gone})
    await peer.record_data_fds()
    assert not peer.log.records
