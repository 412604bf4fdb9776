"""One QEMU from its launch to its end, with a program that passes for it."""

import asyncio
import os
import shutil
import signal
import stat

import pytest

from harness.errors import LaunchError, LostVM, QmpTimeout
from harness.history import Kind, Side
from harness.history.process import Exited, Hung, Memory, Signalled
from harness.supervisor.spawn import Spawn
from harness.vm import patience
from harness.vm import vm as module
from harness.vm.vm import Vm

LIMIT = 4 << 30


@pytest.fixture(autouse=True)
def no_gdb(monkeypatch):
    """A real backtrace takes its time, and has tests of its own."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gdb" else which(name))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
async def vm(home, tmp_path, record, activity):
    vm = Vm(Side.DESTINATION, tmp_path, record, activity, home)
    yield vm
    vm.abandon()
    if vm.process is not None and vm.process.pid:
        await vm.process.wait(60)
    await vm.monitor.close()


@pytest.fixture
def launch(vm):
    """Launches a program as the QEMU."""

    async def do(*argv, pass_fds=()):
        argv = (*map(str, argv), "-chardev", f"socket,id=qmp,fd={vm.monitor_fd}")
        await vm.launch(argv, Spawn.start, pass_fds, LIMIT)

    return do


@pytest.fixture
def up(launch, new_qemu):
    """Launches a QEMU that behaves so."""

    async def do(**behaviour):
        await launch(new_qemu(**behaviour))

    return do


async def test_launched_qemu_runs_and_can_be_talked_to(vm, up):
    assert not vm.is_running
    await up(answers={"query-name": {"name": "x"}})
    assert vm.is_running
    assert vm.monitor.version == (10, 0, 2)
    assert await vm.monitor.execute("query-name") == {"name": "x"}


async def test_descriptors_are_passed_on(vm, launch):
    extra = os.memfd_create("extra")
    script = f"[ -e /proc/self/fd/{extra} ]; exit $(($? + 40))"
    with pytest.raises(LaunchError, match="exit status 40"):
        await launch("sh", "-c", script, pass_fds=(extra,))
    os.close(extra)


async def test_it_works_in_its_home_and_what_it_makes_there_is_private(launch, home):
    """Sockets are reached by a short path from there, by both sides."""
    with pytest.raises(LaunchError, match="exit status 3"):
        await launch("sh", "-c", "mkdir here; : >file; exit 3")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes == {"here": 0o700, "file": 0o600}


async def test_output_is_its_owners_alone(up, vm, tmp_path):
    await up(says="a warning")
    assert stat.S_IMODE((tmp_path / "destination.stderr").stat().st_mode) == 0o600


async def test_output_is_kept_in_the_folder(vm, up, tmp_path):
    await up(says="a warning")
    await vm.shutdown()
    assert (tmp_path / "destination.stderr").read_text() == "a warning\n"


async def test_qemu_that_ends_first_is_a_launch_error_with_its_last_words(up, named):
    with pytest.raises(LaunchError) as failure:
        await up(says="vfio: one\nvfio: no such device\n", exit=1)
    assert str(failure.value) == (
        "destination: QEMU ended at start with exit status 1: vfio: no such device"
    )
    assert named(Exited) == [Exited(status=1, signal=0, asked=False)]


async def test_qemu_that_ends_silently_said_nothing(up):
    with pytest.raises(LaunchError, match=r"with exit status 0: it printed nothing$"):
        await up(exit=0)


async def test_qemu_that_dies_at_start_is_a_launch_error_with_its_signal(up):
    with pytest.raises(LaunchError, match=r"^destination: QEMU ended at start with signal 11: "):
        await up(dies_of={"qmp_capabilities": 11})


async def test_qemu_that_says_no_greeting_is_a_launch_error(vm, up, named, monkeypatch):
    monkeypatch.setattr(module, "LAUNCH_TIMEOUT_S", 0.3)
    with pytest.raises(LaunchError) as failure:
        await up(greets=False)
    message = "destination: no QMP greeting within 0.3 s; it still runs"
    assert str(failure.value) == message
    await vm.shutdown()
    assert not vm.is_running
    assert named("execute") == [], "there is no monitor to say quit to"
    assert named(Signalled) == [Signalled(signal.SIGTERM)]


async def test_missing_program_was_never_a_process(vm, launch, tmp_path):
    with pytest.raises(LaunchError):
        await launch(tmp_path / "none")
    assert vm.process is not None
    assert vm.process.pid == 0


# -- shutdown -------------------------------------------------------------------------


async def test_qemu_is_asked_to_quit(vm, up, named):
    await up()
    await vm.shutdown()
    assert not vm.is_running
    assert named(Exited) == [Exited(status=0, signal=0, asked=True)]
    assert named(Signalled) == named(Hung) == []


async def test_status_of_the_quit_is_told(vm, up, named):
    await up(quits_with=3)
    await vm.shutdown()
    assert named(Exited) == [Exited(status=3, signal=0, asked=True)]


async def test_qemu_that_does_not_answer_quit_hangs_and_is_terminated(vm, up, named, monkeypatch):
    monkeypatch.setattr(module, "QUIT_TIMEOUT_S", 0.1)
    await up(deaf_to=["quit"])
    await vm.shutdown()
    (hung,) = named(Hung)
    assert hung.waiting_for == "quit"
    assert hung.main_loop_alive is True
    assert str(vm.process.pid) in hung.backtrace
    assert named(Signalled) == [Signalled(signal.SIGTERM)]
    assert named(Exited) == [Exited(status=-1, signal=signal.SIGTERM, asked=True)]


async def test_qemu_that_answers_quit_and_stays_is_terminated(vm, up, named, monkeypatch):
    monkeypatch.setattr(module, "QUIT_TIMEOUT_S", 0.1)
    await up(stays=True)
    await vm.shutdown()
    assert named(Signalled) == [Signalled(signal.SIGTERM)]
    assert named(Exited) == [Exited(status=-1, signal=signal.SIGTERM, asked=True)]


async def test_qemu_that_died_of_the_quit_tells_its_signal(vm, up, named):
    await up(dies_of={"quit": 6})
    await vm.shutdown()
    assert named(Exited) == [Exited(status=-1, signal=6, asked=True)]
    assert named(Hung) == []


async def test_qemu_that_was_gone_before_was_not_asked(vm, up, named):
    await up(dies_of={"stop": 11})
    with pytest.raises(LostVM):
        await vm.monitor.execute("stop")
    assert await vm.process.wait(60)
    await vm.shutdown()
    assert named(Exited) == [Exited(status=-1, signal=11, asked=False)]
    assert "quit" not in [args["command"] for args in named("execute")]


async def test_shutdown_twice_is_one_end(vm, up, named):
    await up()
    await vm.shutdown()
    await vm.shutdown()
    assert len(named(Exited)) == 1


async def test_vm_that_was_never_launched_can_be_shut_down(vm, records):
    await vm.shutdown()
    assert records == []


async def test_abandoned_qemu_is_gone_at_once(vm, up):
    await up()
    vm.abandon()
    with pytest.raises(ProcessLookupError):
        os.kill(vm.process.pid, 0)


async def test_nothing_stays_open(tmp_path, record, activity, new_qemu):
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    never_launched = Vm(Side.SOURCE, tmp_path, record, activity, tmp_path)
    never_launched.abandon()
    vm = Vm(Side.DESTINATION, tmp_path, record, activity, tmp_path)
    argv = [str(new_qemu()), "-chardev", f"socket,id=qmp,fd={vm.monitor_fd}"]
    await vm.launch(argv, Spawn.start, (), LIMIT)
    await vm.shutdown()
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# -- evidence -------------------------------------------------------------------------


async def test_hang_is_recorded_with_evidence(vm, up, records):
    await up(deaf_to=["query-yank"])
    await vm.record_hang("the end of the migration")
    (record,) = [record for record in records if record.name == "hung"]
    assert (record.side, record.kind) == (Side.DESTINATION, Kind.PROCESS)
    assert record.args.waiting_for == "the end of the migration"
    assert record.args.main_loop_alive is False
    assert record.args.monitor_alive is False
    assert record.args.backtrace.startswith(f"{vm.process.pid} ")


async def test_both_questions_are_asked_at_once_and_not_recorded(vm, up, records):
    await up()
    before = len(records)
    assert await vm.ask("the end") == Hung("the end", "", True, True)
    assert len(records) == before


async def test_what_was_asked_already_is_not_asked_again(vm, up, named):
    await up()
    asked = Hung("the end", "", False, True)
    await vm.record_hang("the end", asked=asked, why_no_backtrace="it is known")
    (hung,) = named(Hung)
    assert (hung.main_loop_alive, hung.monitor_alive) == (False, True)
    assert hung.backtrace.endswith("(no backtrace: it is known)")
    assert vm.is_stuck


async def test_busy_qemu_may_answer_late_and_nothing_is_known_of_one_without_a_processor(
    vm, up, monkeypatch
):
    await up(deaf_to=["query-yank"])
    for is_used_up, expected in ((True, False), (False, None)):

        async def used_up(_pid, is_used_up=is_used_up):
            await asyncio.sleep(0.05)
            return is_used_up

        monkeypatch.setattr(patience, "is_used_up", used_up)
        assert await vm.ask("the end") == Hung("the end", "", expected, expected)


async def test_command_of_a_qemu_that_is_stuck_is_not_waited_for(vm, up, monkeypatch):
    await up(deaf_to=["query-yank", "stop"])
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        stop = group.create_task(unanswered(vm.monitor.execute("stop", timeout_s=3600)))
        await asyncio.sleep(0)
        await vm.record_hang("the end", why_no_backtrace="it is known")
    assert "stop was not answered within" in stop.result()
    assert "3600" not in stop.result()


async def unanswered(command):
    with pytest.raises(QmpTimeout) as caught:
        await command
    return str(caught.value)


async def test_stuck_qemu_is_not_told_to_quit_but_ended(vm, up, named):
    await up(deaf_to=["query-yank", "quit"])
    await vm.record_hang("the end of the migration")
    await vm.shutdown()
    assert len(named(Hung)) == 1
    assert named(Signalled) == [Signalled(signal.SIGTERM)]
    assert not vm.is_running


async def test_qemu_that_is_gone_does_not_hang(vm, up, named):
    await vm.record_hang("anything")
    await up()
    await vm.shutdown()
    await vm.record_hang("anything")
    assert named(Hung) == []


async def test_memory_is_recorded_while_it_runs(vm, up, named):
    vm.record_memory("ended")
    await up()
    vm.record_memory("ended")
    await vm.shutdown()
    vm.record_memory("ended")
    (memory,) = named(Memory)
    assert memory.hwm_kib >= memory.rss_kib > 1000
    assert memory.at == "ended"
