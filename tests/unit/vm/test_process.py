"""Processes: how they start, how their end is seen, and that they do not outlive us."""

import asyncio
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from harness.errors import LaunchError, PrerequisiteMissing
from harness.history import Kind, Side
from harness.history.process import Exited, Launched, Signalled, Stderr
from harness.supervisor.memory import Memfd
from harness.supervisor.spawn import Spawn
from harness.vm import sanitizers
from harness.vm.process import QemuProcess

DEADLINE_S = 10.0
LIMIT = 1 << 30


@pytest.fixture
async def start(tmp_path, record, activity):
    """Starts a process; it is gone at the end."""
    started = []

    async def do(argv, *, fds=(), limit=LIMIT, launcher=Spawn.start, cwd=None):
        process = QemuProcess(Side.SOURCE, argv, tmp_path / "stderr", record, activity)
        started.append(process)
        await process.start(launcher, fds, limit, cwd)
        return process

    yield do
    for process in started:
        process.kill_now()
        if process.pid:
            await process.wait(DEADLINE_S)


@pytest.fixture
def pipe():
    """(our end, their end) to read what a child writes."""
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


async def line_of(fd):
    """The line that somebody writes into the pipe."""

    def read():
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(DEADLINE_S * 1000), "nobody wrote"
        return os.read(fd, 1000).decode().strip()

    return await asyncio.to_thread(read)


def shell(script):
    return ["sh", "-c", script]


# -- start ----------------------------------------------------------------------------


async def test_start_is_recorded(start, records):
    before = time.time_ns()
    process = await start(shell("exec sleep 1000"))
    (record,) = records
    assert (record.side, record.kind, record.name) == (Side.SOURCE, Kind.PROCESS, "launched")
    assert record.args == Launched(shell("exec sleep 1000"), process.pid)
    assert before <= record.t_ns <= time.time_ns()
    assert process.returncode is None


async def test_pid_is_that_of_the_program_itself(start, pipe):
    process = await start(shell(f"echo $$ >/dev/fd/{pipe[1]}"), fds=(pipe[1],))
    assert int(await line_of(pipe[0])) == process.pid


async def test_process_has_a_session_of_its_own(start):
    """A Ctrl-C at the harness's terminal is not for QEMU."""
    process = await start(["sleep", "1000"])
    assert os.getsid(process.pid) == process.pid


async def test_stdin_is_empty(start):
    process = await start(shell("read line; exit $?"))
    assert await process.wait(DEADLINE_S)
    assert process.returncode == 1


async def test_program_works_where_it_shall_and_ours_stays_where_we_are(start, tmp_path):
    (tmp_path / "home").mkdir()
    here = os.getcwd()  # noqa: PTH109
    before = os.umask(0o022)
    process = await start(shell("mkdir folder; : >folder/file"), cwd=tmp_path / "home")
    assert await process.wait(DEADLINE_S)
    assert os.umask(before) == 0o022
    assert os.getcwd() == here  # noqa: PTH109
    made = [tmp_path / "stderr", *(tmp_path / "home").rglob("*")]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600, 0o700, 0o600]


async def test_missing_program_is_a_launch_error(start, tmp_path, records):
    with pytest.raises(LaunchError) as failure:
        await start([str(tmp_path / "qemu"), "-M", "none"])
    assert str(failure.value) == f"source: {tmp_path}/qemu: no such program"
    assert records == []


async def test_missing_guard_is_a_launch_error(start, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError) as failure:
        await start(["/bin/sh", "-c", "true"])
    assert str(failure.value) == "source: setpriv not found: install util-linux"


async def test_other_errors_of_the_start_are_launch_errors(start):
    def refused(_spawn):
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(LaunchError) as failure:
        await start(["/bin/sh"], launcher=refused)
    assert str(failure.value) == "source: /bin/sh: Operation not permitted"


async def test_memory_and_core_limits_are_really_set(start, pipe):
    kept = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (kept[1], kept[1]))
    go_read, go_write = os.pipe()
    script = f"read go </dev/fd/{go_read}; echo $(ulimit -d) $(ulimit -c) >/dev/fd/{pipe[1]}"
    await start(shell(script), fds=(go_read, pipe[1]), limit=300 << 20)
    os.write(go_write, b"go\n")
    resource.setrlimit(resource.RLIMIT_CORE, kept)
    assert await line_of(pipe[0]) == f"{300 << 10} 0"
    os.close(go_read)
    os.close(go_write)


async def test_memory_beyond_the_limit_is_refused(start):
    program = "import sys; sys.stdin.readline(); bytearray(1 << 30)"
    go_read, go_write = os.pipe()
    script = f"exec {sys.executable} -IS -c '{program}' </dev/fd/{go_read}"
    process = await start(shell(script), fds=(go_read,), limit=256 << 20)
    os.write(go_write, b"go\n")
    assert await process.wait(DEADLINE_S)
    assert "MemoryError" in process.stderr()
    os.close(go_read)
    os.close(go_write)


# -- end ------------------------------------------------------------------------------


async def test_end_of_one_after_the_other_is_seen(start, named):
    for status in (1, 2, 3):
        process = await start(shell(f"exit {status}"))
        assert await process.wait(DEADLINE_S)
    assert [end.status for end in named(Exited)] == [1, 2, 3]


@pytest.mark.parametrize("status", [0, 1, 77])
async def test_exit_status_is_seen_and_recorded_once(start, named, status):
    process = await start(shell(f"exit {status}"))
    assert await process.wait(DEADLINE_S)
    assert process.returncode == status
    assert named(Exited) == [Exited(status=status, signal=0, asked=False)]
    await process.end(1.0)
    process.kill_now()
    assert len(named(Exited)) == 1
    assert named(Signalled) == []


async def test_signal_is_seen_and_told_apart_from_a_status(start, named):
    process = await start(shell("kill -SEGV $$"))
    assert await process.wait(DEADLINE_S)
    assert process.returncode == -signal.SIGSEGV
    assert named(Exited) == [Exited(status=-1, signal=signal.SIGSEGV, asked=False)]


async def test_end_wakes_those_who_wait_for_anything(start, activity):
    process = await start(shell("exit 3"))
    assert await activity.until(lambda: process.returncode, DEADLINE_S) == 3


async def test_wait_gives_up_at_its_deadline(start):
    process = await start(["sleep", "1000"])
    assert not await process.wait(0.01)
    assert process.returncode is None


async def test_last_words_are_recorded_before_the_end(start, records):
    process = await start(shell(r"echo out; echo one >&2; printf 'two\377' >&2; exit 1"))
    await process.wait(DEADLINE_S)
    words = [record.args.line for record in records if isinstance(record.args, Stderr)]
    assert words == ["out", "one", "two\\xff"]
    assert records[-1].name == "exited"
    assert process.stderr() == "out\none\ntwo\\xff"


async def test_polite_process_ends_by_sigterm(start, named):
    process = await start(["sleep", "1000"])
    await process.end(DEADLINE_S)
    assert process.returncode == -signal.SIGTERM
    assert named(Signalled) == [Signalled(signal.SIGTERM)]
    assert named(Exited) == [Exited(status=-1, signal=signal.SIGTERM, asked=True)]


async def test_stubborn_process_ends_by_sigkill_and_it_is_said(start, named, pipe):
    script = f"trap '' TERM; echo ready >/dev/fd/{pipe[1]}; exec sleep 1000"
    process = await start(shell(script), fds=(pipe[1],))
    assert await line_of(pipe[0]) == "ready"
    await process.end(0.05)
    assert process.returncode == -signal.SIGKILL
    assert named(Signalled) == [Signalled(signal.SIGTERM), Signalled(signal.SIGKILL)]
    assert named(Exited) == [Exited(status=-1, signal=signal.SIGKILL, asked=True)]


async def test_stopped_process_is_ended_too(start):
    process = await start(["sleep", "1000"])
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    await process.end(0.05)
    assert process.returncode == -signal.SIGKILL


async def test_process_that_ended_before_it_was_told_to_was_not_asked(start, named):
    process = await start(shell("exit 5"))
    await process.wait(DEADLINE_S)
    await process.end(1.0)
    assert named(Exited)[0].asked is False


async def test_process_that_was_never_started_has_no_end(tmp_path, record, activity):
    process = QemuProcess(Side.SOURCE, ["true"], tmp_path / "stderr", record, activity)
    assert process.pid == 0
    async with asyncio.timeout(1.0):
        await process.end(30.0)
    process.kill_now()
    assert process.returncode is None


class SlowLauncher:
    """Starts a process only once it is let to."""

    def __init__(self) -> None:
        self.called, self.may = threading.Event(), threading.Event()
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, spawn):
        self.called.set()
        assert self.may.wait(DEADLINE_S)
        self.started.append(spawn.start())
        return self.started[-1]


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_start_ends_what_its_launch_has_started_all_the_same(
    tmp_path, record, activity, times
):
    """The launch goes on in its thread: whoever launches owns the death."""
    process = QemuProcess(Side.SOURCE, ["sleep", "1000"], tmp_path / "err", record, activity)
    launcher = SlowLauncher()
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(process.start(launcher, (), LIMIT))
        await asyncio.to_thread(launcher.called.wait, DEADLINE_S)
        for _ in range(times):
            starting.cancel()
            await asyncio.sleep(0)
        assert not starting.done(), "it waits to know what was started"
        launcher.may.set()
    assert starting.cancelled()
    (started,) = launcher.started
    assert started.returncode == -signal.SIGKILL


async def test_cancelled_start_whose_launch_fails_is_cancelled(tmp_path, record, activity):
    def fail(_spawn):
        called.set()
        may.wait(DEADLINE_S)
        raise OSError(2, "no such file")

    called, may = threading.Event(), threading.Event()
    process = QemuProcess(Side.SOURCE, ["sleep", "1000"], tmp_path / "err", record, activity)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(process.start(fail, (), LIMIT))
        await asyncio.to_thread(called.wait, DEADLINE_S)
        starting.cancel()
        await asyncio.sleep(0)
        may.set()
    assert starting.cancelled()
    assert process.pid == 0


async def test_kill_now_in_a_loop_leaves_nothing_for_it_to_see(start, named):
    process = await start(["sleep", "1000"])
    process.kill_now()
    assert process.returncode == -signal.SIGKILL
    await asyncio.sleep(0)
    assert named(Exited) == []
    assert await process.wait(0.0)


async def test_limit_of_file_sizes_is_no_fault_of_qemu(start, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1000, 1000))
    with pytest.raises(PrerequisiteMissing, match="ulimit -f"):
        await start(["true"])


async def test_kill_now_needs_no_loop(start):
    process = await start(["sleep", "1000"])
    with open(f"/proc/{process.pid}/stat", "rb"):  # noqa: PTH123, ASYNC230
        process.kill_now()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_nothing_stays_open(start, activity):
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    process = await start(shell("exit 0"))
    await process.wait(DEADLINE_S)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# -- memory ---------------------------------------------------------------------------


async def test_memory_is_that_of_the_process(start, pipe):
    program = f"b = b'x' * (64 << 20); import os; os.write({pipe[1]}, b'up'); os.read(0, 1)"
    argv = [sys.executable, "-IS", "-c", f"{program}; import signal; signal.pause()"]
    process = await start(argv, fds=(pipe[1],))
    await line_of(pipe[0])
    memory = process.memory("ended")
    assert memory is not None
    assert memory.at == "ended"
    assert 64 << 10 <= memory.rss_kib <= memory.hwm_kib < 256 << 10


async def test_resources_are_those_of_the_process(start, pipe):
    thread = "import threading; threading.Thread(target=signal.pause, daemon=True).start()"
    program = (
        f"import os, signal, socket; a = socket.socket(); {thread}; os.write({pipe[1]}, b'up')"
    )
    argv = [sys.executable, "-IS", "-c", f"{program}; os.write({pipe[1]}, b'up'); signal.pause()"]
    process = await start(argv, fds=(pipe[1],))
    await line_of(pipe[0])
    held = process.resources("ended")
    assert held is not None
    assert held.at == "ended"
    assert held.descriptors["socket"] == held.descriptors["pipe"] == 1
    assert held.descriptors["file"] >= 2
    assert sum(held.threads.values()) == 2


async def test_data_fds_are_counted_by_what_they_refer_to(start):
    kinds = [Memfd(name) for name in ("data_fd", "data_fd-vfio0", "vfio-source-vfio0")]
    process = await start(["sleep", "60"], fds=tuple(kind.fd for kind in kinds))
    for kind in kinds:
        kind.close()
    assert process.data_fds() == 2


async def test_process_that_is_gone_has_no_data_fds(start):
    process = await start(shell("exit 0"))
    assert await process.wait(DEADLINE_S)
    assert process.data_fds() is None


async def test_process_that_is_gone_has_no_resources(start):
    process = await start(shell("exit 0"))
    assert await process.wait(DEADLINE_S)
    assert process.resources("ended") is None


async def test_process_that_is_gone_has_no_memory(start):
    process = await start(shell("exit 0"))
    await process.wait(DEADLINE_S)
    assert process.memory("ended") is None


# -- the death of the harness ---------------------------------------------------------

HARNESS = """
import asyncio, sys
from pathlib import Path
from harness.history import Side
from harness.supervisor.supervisor import Supervisor
from harness.vm.activity import Activity
from harness.supervisor.spawn import Spawn
from harness.vm.process import QemuProcess

async def main(kind, folder, fd):
    nobody = lambda record: None
    supervisor = Supervisor(Side.SOURCE, nobody)
    argv = ["sh", "-c", f"echo $$ >/dev/fd/{fd}; exec sleep 1000"]
    process = QemuProcess(Side.SOURCE, argv, Path(folder, "stderr"), nobody, Activity())
    launcher = supervisor.launch if kind == "supervised" else Spawn.start
    await process.start(launcher, (int(fd),), 1 << 30)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["plain", "supervised"])
def test_killed_harness_takes_its_qemu_along(kind, tmp_path, pipe):
    argv = [sys.executable, "-c", HARNESS, kind, str(tmp_path), str(pipe[1])]
    with subprocess.Popen(argv, pass_fds=(pipe[1],)) as harness:
        try:
            qemu_pid = int(asyncio.run(line_of(pipe[0])))
            qemu = os.pidfd_open(qemu_pid)
        finally:
            harness.kill()
    poll = select.poll()
    poll.register(qemu, select.POLLIN)
    is_gone = bool(poll.poll(DEADLINE_S * 1000))
    if not is_gone:
        signal.pidfd_send_signal(qemu, signal.SIGKILL)
    os.close(qemu)
    assert is_gone


SAYS_LIMITS = (
    "import os, resource; "
    "print(resource.getrlimit(resource.RLIMIT_DATA)[0], os.environ.get('ASAN_OPTIONS'))"
)


@pytest.mark.parametrize(
    ("found", "has_kernels_limit", "has_options"),
    [((), True, False), (("undefined",), True, True), (("address", "undefined"), False, True)],
)
async def test_sanitizers_build_has_the_limit_that_leaves_room_for_its_shadow(
    start, tmp_path, monkeypatch, found, has_kernels_limit, has_options
):
    monkeypatch.setattr(sanitizers, "of", lambda _binary: found)
    monkeypatch.delenv("ASAN_OPTIONS", raising=False)
    # The limit is set right after the start: Python comes up later.
    process = await start([sys.executable, "-c", SAYS_LIMITS])
    assert await process.wait(DEADLINE_S)
    limit, options = (tmp_path / "stderr").read_text().split(maxsplit=1)
    assert (int(limit) == LIMIT) == has_kernels_limit
    assert ("max_allocation_size_mb=1024" in options) == has_options
