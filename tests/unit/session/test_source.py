"""The source of a migration, played by a QEMU and by a capture."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.errors import HistoryError, LaunchError, LostVM, QmpError, VMError
from harness.history import Record, Side
from harness.history.device import Received
from harness.history.records import Kind
from harness.proxy.events import MAIN
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.action_plan import Kill, Target, When
from harness.scenario.fault_plan import Drop
from harness.session import firmware as firmware_module
from harness.session import source as module
from harness.session.log import Log
from harness.session.source import CaptureSource, QemuSource, scenario_of
from harness.vm import builds
from harness.vm.activity import Activity
from tests.unit.proxy import captures

SCENARIO = Scenario(name="plain", devices=(EmulatedDevice(id="vfio0"),))


def status(name, side=Side.SOURCE):
    return Record(1, side, Kind.QMP, "MIGRATION", {"status": name})


def event(name, side=Side.SOURCE):
    return Record(1, side, Kind.QMP, name)


class Monitor:
    def __init__(self, error=None):
        self.executed = []
        self.error = error

    async def execute(self, command, _arguments=None):
        self.executed.append(command)
        if self.error:
            raise self.error
        return {}


class FakePeer:
    """What a source needs of a QEMU and its devices."""

    def __init__(self, *events, error=None, is_paused=False):
        self.events = list(events)
        self.is_paused = is_paused
        self.is_up = True
        self.binary = "/qemu"
        self.facts = captures.BUILD
        self.known_facts = captures.BUILD
        self.vm = SimpleNamespace(
            monitor=Monitor(error), is_running=True, is_stuck=False, activity=Activity()
        )
        self.calls = []

    async def configure(self, _scenario, setup):
        self.calls.append(("configure", setup))

    async def launch(self, _scenario, image):
        self.calls.append(("launch", image))
        return self.is_up

    async def get_ready(self, _scenario, setup, *more):
        for each in more:
            await each
        self.calls.append(("get_ready", setup))
        return "its name"


def qemu(peer, scenario=SCENARIO, *, is_handed_over=False):
    return QemuSource(peer, scenario, Log(), is_handed_over=is_handed_over)


def moves(_peers):
    """Sees no standstill."""
    return SimpleNamespace(until_still=asyncio.Event().wait)


def stands(_peers):
    """Sees one at once."""
    return SimpleNamespace(until_still=lambda: asyncio.sleep(0, "a standstill"))


# -- a QEMU ------------------------------------------------------------------------------


CREDENTIALS = SimpleNamespace(of=lambda side: f"of {side}", instead=lambda: "instead")


@pytest.fixture
def firmware(monkeypatch):
    """Which part of the firmware's work was done."""
    done = []

    async def do(name):
        done.append(name)

    monkeypatch.setattr(firmware_module, "set_up", lambda *_: do("set_up"))
    monkeypatch.setattr(firmware_module, "show", lambda *_: do("show"))
    return done


async def test_qemu_is_launched_and_set_up_with_its_devices_in_place(firmware):
    peer = FakePeer()
    assert await qemu(peer).start("image", CREDENTIALS) == "its name"
    assert peer.calls == [("launch", "image"), ("get_ready", "of source")]
    assert firmware == ["set_up"]


async def test_qemu_that_does_not_start_is_not_set_up(firmware):
    peer = FakePeer()
    peer.is_up = False
    assert await qemu(peer).start("image", CREDENTIALS) == ""
    assert peer.calls == [("launch", "image")]
    assert not firmware


async def test_qemu_that_runs_already_gets_new_settings_and_is_looked_at(firmware):
    peer = FakePeer()
    source = qemu(peer, is_handed_over=True)
    assert await source.start("image", CREDENTIALS) == ""
    assert peer.calls == [("configure", "instead")]
    assert firmware == ["show"]
    assert not source.boots_guest


async def test_migration_begins_before_anything_is_waited_for():
    peer = FakePeer()
    async with qemu(peer).sends({"transport": "socket"}, None):
        assert peer.vm.monitor.executed == ["migrate"]


async def test_qemu_that_dies_of_migrate_lets_the_destination_end():
    entered = False
    async with qemu(FakePeer(error=LostVM("gone"))).sends({}, None):
        entered = True
    assert entered


async def test_refused_migrate_is_not_waited_for():
    with pytest.raises(QmpError):
        async with qemu(FakePeer(error=QmpError("migrate", "GenericError", "no"))).sends({}, None):
            pytest.fail("it was refused")


async def test_what_a_destination_of_a_qemu_refuses_is_judged():
    with pytest.raises(LaunchError):
        async with qemu(FakePeer()).takes(FakePeer()):
            raise LaunchError("no such machine")


@pytest.mark.parametrize(
    ("source", "destination", "resumed"),
    [
        ([status("completed")], [], True),
        ([status("completed")], [status("completed")], False),
        ([status("active")], [], False),
        ([status("cancelled")], [], False),
    ],
    ids=["completed for nothing", "completed", "goes on", "cancelled"],
)
async def test_source_that_completed_for_nothing_is_made_to_run_on(source, destination, resumed):
    peer = FakePeer(*source)
    await qemu(peer).settle(FakePeer(*destination), moves)
    assert peer.vm.monitor.executed == ["cont"] * resumed


async def test_source_that_has_failed_is_waited_for_until_it_runs(monkeypatch):
    monkeypatch.setattr(module, "SETTLE_S", 5.0)
    peer = FakePeer(event("STOP"), status("failed"))

    waits = Activity.until

    async def until(self, seen, timeout_s):
        assert seen() is None, "it is stopped"
        peer.events.append(event("RESUME"))
        return await waits(self, seen, timeout_s)

    monkeypatch.setattr(Activity, "until", until)
    await qemu(peer).settle(FakePeer(), moves)
    assert peer.events[-1].name == "RESUME"
    assert not peer.vm.monitor.executed


@pytest.mark.parametrize("what", ["stuck", "gone", "stays stopped"])
async def test_source_that_cannot_resume_is_left(monkeypatch, what):
    monkeypatch.setattr(module, "SETTLE_S", 0.01)
    peer = FakePeer(event("STOP"), status("failed"))
    peer.vm.is_stuck, peer.vm.is_running = what == "stuck", what != "gone"
    await qemu(peer).settle(FakePeer(), moves)
    assert not peer.vm.monitor.executed


@pytest.mark.parametrize("waits_s", [5.0, 0.0])
async def test_paused_source_that_failed_is_asked_until_its_state_is_the_last(monkeypatch, waits_s):
    monkeypatch.setattr(module, "SETTLE_S", waits_s)
    peer = FakePeer(event("STOP"), status("failed"), is_paused=True)
    states = ["finish-migrate", "finish-migrate", "paused"]
    asked = []

    async def execute(command):
        asked.append(command)
        return {"status": states[len(asked) - 1]}

    peer.vm.monitor.execute = execute
    await qemu(peer).settle(FakePeer(), moves)
    assert asked == ["query-status"] * (3 if waits_s else 0)


async def test_paused_source_that_completed_is_left():
    peer = FakePeer(status("completed"), is_paused=True)
    await qemu(peer).settle(FakePeer(), moves)
    assert not peer.vm.monitor.executed


async def test_source_that_does_not_move_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "SETTLE_S", 3600.0)
    peer = FakePeer(event("STOP"), status("failed"))
    async with asyncio.timeout(60):
        await qemu(peer).settle(FakePeer(), stands)
    assert not peer.vm.monitor.executed


async def test_cont_that_is_not_answered_is_no_error_of_the_harness():
    peer = FakePeer(status("completed"), error=VMError("gone"))
    await qemu(peer).settle(FakePeer(), moves)


# -- a capture ---------------------------------------------------------------------------


@pytest.fixture
def capture(tmp_path):
    return captures.make(tmp_path / "run.capture", {MAIN: b"QEVM"})


def destination_of(**fields):
    peer = FakePeer()
    for name, value in fields.items():
        setattr(peer, name, value)
    return peer


def replayed(capture, log=None, **fields):
    scenario = msgspec.structs.replace(scenario_of(capture, "/dst"), **fields)
    return CaptureSource(capture, scenario, log or Log())


def test_replay_is_of_the_captured_scenario_into_another_destination(tmp_path):
    original = Scenario(
        name="one",
        devices=captures.SCENARIO.devices,
        actions=(Kill(when=When(), target=Target.SOURCE),),
        then=(Scenario(name="two", devices=captures.SCENARIO.devices),),
    )
    made = captures.make(tmp_path / "a.capture", {MAIN: b"QEVM"}, original)
    found = scenario_of(made, "/dst", (Drop(),))
    assert (found.name, found.qemu, found.qemu_dst) == ("replay-one", "qemu", "/dst")
    assert (found.machine, found.relay, found.faults) == ("pc-q35-10.0", True, (Drop(),))
    assert (found.actions, found.then) == ((), ())


def test_capture_has_no_qemu_and_the_facts_of_the_one_that_it_is_of(capture):
    source = replayed(capture)
    assert source.peer is None
    assert source.facts == captures.BUILD
    assert not source.boots_guest


@asynccontextmanager
async def starting(source, peer, error=None):
    async with source.takes(peer):
        if error is not None:
            raise error
    yield


async def test_destination_that_fits_is_taken(capture):
    async with starting(replayed(capture), destination_of()):
        pass


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"channels": 3}, "multifd has 3 channels, captured were 4 channels"),
        ({"ram_mib": 32}, "RAM has 32 MiB, captured were 64 MiB"),
        ({"machine": "pc"}, "the machine type is pc, captured was pc-q35-10.0"),
    ],
)
async def test_destination_that_does_not_fit_is_refused(capture, fields, words):
    with pytest.raises(HistoryError, match=words):
        async with starting(replayed(capture, **fields), destination_of()):
            pytest.fail("it does not fit")


@pytest.fixture
def probed(monkeypatch):
    """What the destination's build says of itself without a machine."""

    def put(*machines):
        async def probe(_binary):
            return SimpleNamespace(facts=captures.BUILD, machines=machines)

        monkeypatch.setattr(builds, "probe", probe)

    return put


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        (["pc-q35-9.2"], "QEMU 10.0.13 has no machine type pc-q35-10.0"),
        (["pc-q35-10.0"], "^ended with 1$"),
    ],
)
async def test_destination_that_does_not_start_is_explained_by_its_build(
    capture, probed, machines, words
):
    probed(*machines)
    with pytest.raises(HistoryError, match=words):
        async with starting(replayed(capture), destination_of(), LaunchError("ended with 1")):
            pytest.fail("it did not start")


async def test_destination_that_refuses_the_settings_is_named(capture, probed):
    probed("pc-q35-10.0")
    with pytest.raises(HistoryError, match="/qemu does not start with its settings"):
        async with starting(replayed(capture), destination_of(is_up=False)):
            pytest.fail("it is not up")


def received(digest, side=Side.DESTINATION):
    return Record.of(1, side, Received(1, "x", 1, digest, -1), "vfio0")


def test_states_that_are_what_the_capture_says_can_be_judged(capture):
    replayed(capture).check([received("ab" * 16), received("of the source", Side.SOURCE)])


def test_states_of_another_harness_cannot_be_judged(capture):
    with pytest.raises(HistoryError, match="the state of vfio0 is not what this harness gives"):
        replayed(capture).check([received("cd" * 16)])


async def test_records_of_the_captured_source_are_moved_to_now(capture, monkeypatch):
    begins = Record(1_000, Side.SOURCE, Kind.QMP, "execute", {"command": "migrate"})
    later = Record(1_500, Side.SOURCE, Kind.QMP, "STOP")
    lines = msgspec.json.Encoder().encode_lines([begins, later])
    capture.manifest = msgspec.structs.replace(capture.manifest, records=lines)
    sent: list[Any] = []

    class Sends:
        failure = None

        def __init__(self, of, address):
            sent.append((of, address))

        def start(self):
            sent.append("start")

        def close(self):
            sent.append("close")

    monkeypatch.setattr("harness.proxy.replay.Replayer", Sends)
    monkeypatch.setattr("harness.proxy.address.from_qmp", lambda address, _home: address)
    log = Log()
    async with replayed(capture, log).sends("there", None):
        assert sent[-1] == "start"
    assert sent == [(capture, "there"), "start", "close"]
    note, first, second = list[Any](log.records)
    assert (note.name, note.args.capture) == ("replayed", str(capture.path))
    assert [first.name, second.name] == ["execute", "STOP"]
    assert second.t_ns - first.t_ns == 500
    assert first.t_ns >= note.t_ns


@pytest.mark.parametrize("is_error_of_its_own", [True, False])
async def test_replay_that_failed_is_lost_and_closed(capture, monkeypatch, is_error_of_its_own):
    begins = Record(1_000, Side.SOURCE, Kind.QMP, "execute", {"command": "migrate"})
    lines = msgspec.json.Encoder().encode_lines([begins])
    capture.manifest = msgspec.structs.replace(capture.manifest, records=lines)
    closed = []
    replayer = SimpleNamespace(
        start=lambda: None,
        close=lambda: closed.append(True),
        failure=OSError("no route") if is_error_of_its_own else None,
    )
    monkeypatch.setattr("harness.proxy.replay.Replayer", lambda *_: replayer)
    monkeypatch.setattr("harness.proxy.address.from_qmp", lambda address, _home: address)

    async def play():
        async with replayed(capture).sends("there", None):
            if not is_error_of_its_own:
                raise LostVM("the destination")

    with pytest.raises(VMError, match="the replay" if is_error_of_its_own else "the destination"):
        await play()
    assert closed == [True]
