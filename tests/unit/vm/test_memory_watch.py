"""Samples of memory while something goes on."""

import asyncio

import pytest

from harness.vm.memory_watch import MOST, MemoryWatch


class Clock:
    """A loop's timers, that pass when they are told to."""

    def __init__(self, monkeypatch):
        self.distances = []
        self.call = None
        self.cancelled = False
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self.later)

    def later(self, distance_s, call):
        self.distances.append(distance_s)
        self.call = call
        return self

    def cancel(self):
        self.cancelled = True


@pytest.fixture
async def clock(monkeypatch):
    return Clock(monkeypatch)


async def test_each_is_looked_at_whenever_the_time_has_come(clock):
    seen = []
    with MemoryWatch([lambda: seen.append("a"), lambda: seen.append("b")]):
        assert seen == []
        clock.call()
        clock.call()
    assert seen == ["a", "b"] * 2


async def test_nothing_is_looked_at_afterwards(clock):
    with MemoryWatch([]):
        pass
    assert clock.cancelled


async def test_long_run_has_few_more_samples_than_a_short_one(clock):
    with MemoryWatch([], first_s=1.0):
        for _ in range(3 * MOST - 1):
            clock.call()
    assert clock.distances == [1.0] * MOST + [2.0] * MOST + [4.0] * MOST


async def test_it_runs_on_the_loop_beside_what_goes_on():
    seen = asyncio.Event()
    with MemoryWatch([seen.set], first_s=0.001):
        async with asyncio.timeout(5):
            await seen.wait()
