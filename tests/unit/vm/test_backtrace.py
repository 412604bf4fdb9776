"""Evidence of a process that is stuck."""

import asyncio
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from harness.vm import backtrace as module
from harness.vm.backtrace import backtrace, threads

GONE = "(no backtrace: gdb is not installed)"


@pytest.fixture
def sleeper():
    """Pid of a process that sleeps."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def gdb(new_program, monkeypatch):
    """Makes a gdb that is this shell script."""

    def make(script):
        path = str(new_program(f"#!/bin/sh\n{script}\n"))
        monkeypatch.setattr(shutil, "which", {"gdb": path}.get)

    return make


def test_every_thread_is_listed_with_its_name():
    release, named = threading.Event(), threading.Event()

    def run():
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("multifdrecv_0")
        named.set()
        release.wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert named.wait(10.0)
        listed = threads(os.getpid())
    finally:
        release.set()
        thread.join()
    assert any(line.startswith(f"{thread.native_id} multifdrecv_0: ") for line in listed)
    assert any(line.startswith(f"{os.getpid()} ") for line in listed)


def test_thread_that_sleeps_in_no_kernel_function_runs(tmp_path, monkeypatch):
    for tid, place in ((7, "futex_wait_queue"), (8, "0")):
        task = tmp_path / "9" / "task" / str(tid)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"thread{tid}\n")
        (task / "wchan").write_text(place)
    (tmp_path / "9" / "task" / "6").mkdir()  # ended while it was looked at
    monkeypatch.setattr(module, "Path", lambda path: tmp_path / path.removeprefix("/proc/"))
    assert threads(9) == ["7 thread7: futex_wait_queue", "8 thread8: running"]


def test_process_that_is_gone_has_no_threads():
    process = subprocess.Popen(["true"])
    process.wait()
    assert threads(process.pid) == []


async def test_without_gdb_the_threads_are_told(sleeper, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    first, last = (await backtrace(sleeper)).splitlines()
    assert first.startswith(f"{sleeper} ")
    assert last == GONE


async def test_every_thread_has_its_line(sleeper, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(module, "threads", lambda _pid: ["1 main: poll", "2 other: running"])
    assert (await backtrace(sleeper)).splitlines() == ["1 main: poll", "2 other: running", GONE]


async def test_gdb_is_asked_for_every_thread(sleeper, gdb):
    gdb('echo "$@"; echo "#0 poll ()"; echo warning >&2')
    first, *rest = (await backtrace(sleeper)).splitlines()
    assert first.startswith(f"{sleeper} ")
    assert rest == [
        f"-nx -iex set auto-load off -p {sleeper} -batch -ex thread apply all bt",
        "#0 poll ()",
        "warning",
    ]


async def test_output_that_is_no_text_is_told_all_the_same(sleeper, gdb):
    gdb(r"printf 'a\377b'")
    assert (await backtrace(sleeper)).endswith("a\\xffb")


async def test_gdb_that_does_not_end_is_killed(sleeper, gdb, monkeypatch, tmp_path):
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    gdb(f"echo $$ >{pid_file}; exec sleep 1000")
    monkeypatch.setattr(module, "GDB_TIMEOUT_S", 0.1)
    async with asyncio.TaskGroup() as group:
        told = group.create_task(backtrace(sleeper))
        pid = int(await asyncio.to_thread(pid_file.read_text))
    assert told.result().endswith("\n(no backtrace: gdb did not end within 0.1 s)")
    assert threads(pid) == []
