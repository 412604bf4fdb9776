"""A time limit that does not count time in which the processor was not to be had."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.vm import time_limit
from harness.vm.threads import PROC
from harness.vm.time_limit import MOST, TimeLimit, waited_ns

LIMIT_S = 0.2


@dataclass
class Processor:
    waited_s: Callable[[], float] = lambda: 0.0
    is_emulated: bool = False


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """What the kernel says of it."""
    said = Processor()
    waited = lambda pids: {"thread": int(said.waited_s() * 1e9)}  # noqa: E731
    monkeypatch.setattr(time_limit, "waited_ns", waited)
    monkeypatch.setattr(time_limit, "is_emulated", lambda: said.is_emulated)
    return said


async def never(limit: TimeLimit) -> float:
    """Wait for what does not come; how long, as the limit says."""
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.get_running_loop().create_future()
    return limit.waited_s


async def test_limit_is_what_was_given():
    limit = TimeLimit(LIMIT_S, None)
    assert LIMIT_S <= await never(limit) < LIMIT_S * 2


async def test_waiting_for_a_processor_does_not_count(processor):
    began = time.monotonic()
    processor.waited_s = lambda: (time.monotonic() - began) / 2
    await never(TimeLimit(LIMIT_S, None))
    assert time.monotonic() - began >= LIMIT_S * 1.8


async def test_it_ends_also_if_there_is_never_a_processor(processor):
    began = time.monotonic()
    processor.waited_s = lambda: (time.monotonic() - began) * 3
    await never(TimeLimit(LIMIT_S, None))
    assert time.monotonic() - began >= LIMIT_S * MOST


async def test_waiting_of_before_counts_as_any_time(processor):
    processor.waited_s = lambda: 1000.0
    began = time.monotonic()
    await never(TimeLimit(LIMIT_S, None))
    assert time.monotonic() - began < LIMIT_S * MOST


async def test_emulated_processor_is_slower(processor):
    processor.is_emulated = True
    began = time.monotonic()
    await never(TimeLimit(LIMIT_S, None))
    assert time.monotonic() - began >= LIMIT_S * 4


async def test_given_up_it_ends_at_once():
    limit = TimeLimit(3600, None)
    asyncio.get_running_loop().call_later(0.05, limit.give_up)
    assert await never(limit) < 60
    limit.give_up()  # once more does nothing


async def test_what_comes_in_time_leaves_nothing_behind():
    async with TimeLimit(LIMIT_S, None):
        await asyncio.sleep(LIMIT_S / 4)
    async with TimeLimit(LIMIT_S, None):
        pass
    await asyncio.sleep(LIMIT_S * 2)  # neither limit cancels what comes after it


def test_main_thread_and_monitor_are_looked_at(monkeypatch):
    monkeypatch.undo()
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        me = os.getpid()
        seen = waited_ns((me,))
        assert [path.name for path in seen] == [str(me)]
        comm = PROC / str(me) / "task" / str(thread.native_id) / "comm"
        comm.write_text("IO mon_iothread")
        assert {path.name for path in waited_ns((me,))} == {str(me), str(thread.native_id)}
    finally:
        held.set()
        thread.join()


def test_process_that_waits_for_a_processor_is_seen(monkeypatch):
    """Two that want the same one."""
    monkeypatch.undo()
    processor = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{processor}}})\nwhile True: pass"
    with (
        subprocess.Popen([sys.executable, "-c", spin]) as one,
        subprocess.Popen([sys.executable, "-c", spin]) as other,
    ):
        try:
            until = time.monotonic() + 30
            while sum(waited_ns((one.pid,)).values()) < 50_000_000:
                assert time.monotonic() < until
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(0.02)
        finally:
            one.kill()
            other.kill()
    assert waited_ns((one.pid,)) == {}
