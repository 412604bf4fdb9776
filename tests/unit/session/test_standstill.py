"""When nothing moves any more: what must not be missed, and what must not be taken for it."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from harness.history import Kind, Record, Side
from harness.history.process import Memory
from harness.history.session import Standstill
from harness.session import standstill as module
from harness.session.log import Log
from harness.session.standstill import (
    LOOK_S,
    SPARE_NS,
    SPUN_NS,
    StandstillWatch,
    until_either,
)
from harness.vm.activity import Activity
from harness.vm.threads import Thread

SRC, DST, RELAY = 100, 200, 300
STILL_S = 2.0
LONGEST_S = 20.0


class World:
    """Two QEMUs and the harness on a clock of their own, in which nothing moves.

    :ivar events: what happens at each look, from the first on: called with its number
    """

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.late_s = 0.0
        self.looks = 0
        self.log = Log()
        self.is_waiting = False
        self.threads = {
            SRC: {SRC: thread("main"), 101: thread("CPU 0/TCG"), 102: thread("mig/src/main")},
            DST: {DST: thread("main"), 201: thread("CPU 0/TCG"), 202: thread("mig/dst/recv_0")},
            os.getpid(): {RELAY: thread("relay")},
        }
        self.peers = [peer(Side.SOURCE, SRC), peer(Side.DESTINATION, DST)]
        self.does = lambda _look: None
        self.watch = StandstillWatch(
            self.peers, self.log, lambda: [RELAY], lambda: self.is_waiting, STILL_S
        )
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module, "threads_of", self.threads_of)

    async def sleep(self, seconds):
        self.now += seconds + self.late_s
        self.looks += 1
        if self.now > LONGEST_S:
            raise TimeoutError
        self.does(self.looks)

    def threads_of(self, pid, only=None):
        found = self.threads[pid]
        if not found:
            raise FileNotFoundError
        assert only in (None, found.keys())
        return dict(found)

    def change(self, pid, tid, **fields):
        self.threads[pid][tid] = self.threads[pid][tid]._replace(**fields)

    def run(self, pid, tid, run_ns=1000):
        was = self.threads[pid][tid]
        self.change(pid, tid, run_ns=was.run_ns + run_ns, slices=was.slices + 1)

    async def is_seen(self):
        """Whether a standstill is, in all the time that there is."""
        try:
            await self.watch.until_still()
        except TimeoutError:
            return False
        return True


def thread(name):
    return Thread(name, "S", 1000, 5)


def peer(side, pid):
    return SimpleNamespace(side=side, pid=pid, trace_bytes=0, vm=SimpleNamespace(is_running=True))


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


async def test_two_qemus_that_sleep_stand_still(world):
    found = await world.watch.until_still()
    assert found == Standstill(found.still_s, 0.0, {"source": 3, "destination": 3})
    assert STILL_S <= found.still_s < STILL_S + 2 * LOOK_S
    assert world.now < STILL_S + 4 * LOOK_S, "and no longer than it takes to be sure"


def after_a_second(world, what):
    """Do ``what`` once, in the middle."""

    def does(look):
        if look == 12:
            what()

    world.does = does


async def began_again(world):
    found = await world.watch.until_still()
    assert found.still_s < STILL_S + 2 * LOOK_S
    return world.now > 1 + STILL_S


@pytest.mark.parametrize(
    "tid", [SRC + 2, DST + 2], ids=["a thread of the source", "a thread of the destination"]
)
async def test_one_time_slice_of_a_thread_is_a_move(world, tid):
    after_a_second(world, lambda: world.run(tid // 100 * 100, tid))
    assert await began_again(world)


async def test_one_time_slice_of_the_relay_is_a_move(world):
    after_a_second(world, lambda: world.run(os.getpid(), RELAY))
    assert await began_again(world)


async def test_record_is_a_move(world):
    event = Record(1, Side.SOURCE, Kind.QMP, "STOP")
    after_a_second(world, lambda: world.log(event))
    assert await began_again(world)


async def test_line_of_a_trace_is_a_move(world):
    after_a_second(world, lambda: setattr(world.peers[1], "trace_bytes", 80))
    assert await began_again(world)


async def test_thread_that_begins_or_ends_is_a_move(world):
    after_a_second(world, lambda: world.threads[SRC].pop(102))
    assert await began_again(world)


async def test_end_of_a_qemu_is_a_move_and_the_other_may_stand_still(world):
    after_a_second(world, lambda: setattr(world.peers[0].vm, "is_running", False))
    found = await world.watch.until_still()
    assert world.now > 1 + STILL_S
    assert found.threads == {"destination": 3}


async def test_samples_of_memory_are_no_move(world):
    """They come by themselves, ever so often."""
    memory = Record.of(1, Side.SOURCE, Memory(hwm_kib=1, rss_kib=1, at="migrating"))
    world.does = lambda _look: world.log(memory)
    assert await world.is_seen()
    assert world.now < STILL_S + 4 * LOOK_S


@pytest.mark.parametrize("tid", [DST, DST + 1], ids=["main loop", "halted vCPU"])
async def test_timers_that_wake_a_thread_do_not_hide_a_standstill(world, tid):
    world.does = lambda _look: world.run(DST, tid, int(SPARE_NS * LOOK_S / STILL_S * 0.5))
    assert await world.is_seen()
    assert world.now < STILL_S + 4 * LOOK_S


@pytest.mark.parametrize("tid", [DST, DST + 1], ids=["main loop", "vCPU of a guest"])
async def test_thread_that_works_a_little_does_not_stand_still(world, tid):
    world.does = lambda _look: world.run(DST, tid, int(SPARE_NS * LOOK_S / STILL_S * 2))
    assert not await world.is_seen()


async def test_throttled_migration_does_not_stand_still(world):
    """Its thread wakes ten times a second, for next to nothing."""
    world.does = lambda _look: world.run(SRC, 102, 1)
    assert not await world.is_seen()


@pytest.mark.parametrize("state", ["R", "D", "T", "t"])
async def test_qemu_that_starves_waits_for_a_disk_or_was_stopped_does_not_stand_still(world, state):
    world.change(DST, 202, state=state)
    assert not await world.is_seen()


# -- one thread spins ---------------------------------------------------------------------

POOL = 103
FULL_NS = int(LOOK_S * 1e9)


def spin(world, run_ns=FULL_NS, pid=SRC, tid=POOL):
    """A thread that was asleep before runs from now on, in user mode."""
    world.threads[pid][tid] = thread("pool-0")._replace(state="R", yields=3)
    world.does = lambda _look: world.run(pid, tid, run_ns)


async def test_one_thread_that_spins_while_all_others_sleep_does_not_hide_a_standstill(world):
    spin(world)
    found = await world.watch.until_still()
    assert STILL_S <= found.still_s < STILL_S + 2 * LOOK_S
    assert found.threads == {"source": 3, "destination": 3}
    assert found.spinning == {"source": "pool-0"}


async def test_thread_that_spins_must_have_had_a_processor(world):
    """It may be about to go on, on a busy machine."""
    spin(world, FULL_NS // 10)
    found = await world.watch.until_still()
    assert found.still_s == pytest.approx(10 * SPUN_NS / 1e9, abs=2 * LOOK_S)


@pytest.mark.parametrize("tid", [SRC, SRC + 1], ids=["main loop", "vCPU"])
async def test_guest_or_main_loop_that_runs_does_not_spin(world, tid):
    world.change(SRC, tid, state="R")
    world.does = lambda _look: world.run(SRC, tid, FULL_NS)
    assert not await world.is_seen()


async def test_two_threads_that_run_do_not_spin(world):
    """One may do what the other waits for."""
    spin(world)
    world.change(SRC, 102, state="R")
    assert not await world.is_seen()


@pytest.mark.parametrize("field", ["yields", "system_ticks"])
async def test_thread_that_sleeps_in_between_or_makes_system_calls_does_not_spin(world, field):
    def does(_look):
        world.run(SRC, POOL, FULL_NS)
        was = world.threads[SRC][POOL]
        world.change(SRC, POOL, **{field: getattr(was, field) + 1})

    spin(world)
    world.does = does
    assert not await world.is_seen()


async def test_thread_that_begins_to_spin_is_a_move(world):
    after_a_second(world, lambda: spin(world))
    found = await world.watch.until_still()
    assert world.now > 1 + STILL_S
    assert found.spinning == {"source": "pool-0"}


async def test_harness_that_starves_sees_no_standstill(world):
    world.change(os.getpid(), RELAY, state="R")
    assert not await world.is_seen()


async def test_time_in_which_this_loop_did_not_run_is_not_counted(world):
    def does(look):
        world.late_s = 1.0 if look in (5, 8) else 0.0

    world.does = does
    found = await world.watch.until_still()
    assert STILL_S <= found.still_s < STILL_S + 2 * LOOK_S
    assert found.uncounted_s == pytest.approx(2 * (1.0 + LOOK_S))
    world.late_s, world.does = LOOK_S * 1.1, lambda _look: None
    assert not await world.is_seen(), "a loop that is always late sees nothing"


async def test_scenario_that_waits_on_purpose_does_not_stand_still(world):
    world.is_waiting = True
    assert not await world.is_seen()


async def test_without_statistics_of_the_kernel_there_is_no_standstill(world):
    world.threads[DST] = {}
    assert not await world.is_seen()


async def test_where_none_is_wanted_none_is_seen():
    never = StandstillWatch([], Log(), list, lambda: False, 0.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await never.until_still()


async def test_what_a_judge_can_know_grows_with_records_and_traces(world):
    before = world.watch.seen
    world.log(Record.of(1, Side.SOURCE, Memory(hwm_kib=1)))
    assert world.watch.seen == before
    world.log(Record(1, Side.SOURCE, Kind.QMP, "STOP"))
    world.peers[0].trace_bytes = 80
    assert world.watch.seen == (before[0] + 1, before[1] + 80)


# -- whichever comes first ----------------------------------------------------------------


async def test_what_is_waited_for_or_the_other_whichever_comes_first():
    activity, seen = Activity(), []

    async def comes():
        seen.append(1)
        activity.notify()
        await asyncio.Event().wait()

    async def returns():
        return "the other"

    def found():
        return "seen" if seen else None

    assert await until_either(activity, found, returns, 60) == "the other"
    assert await until_either(activity, found, comes, 60) == "seen"
    assert await until_either(activity, found, returns, 60) == "seen", "it was there already"
    assert await until_either(activity, lambda: None, asyncio.Event().wait, 0.01) is None


async def test_error_of_the_other_is_an_error():
    async def fails():
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        await until_either(Activity(), lambda: None, fails, 60)
