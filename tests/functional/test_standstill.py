"""What ends a wait before its deadline, and what only looks as if nothing moved."""

import asyncio
import os
import signal

import pytest

from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.process import Hung
from harness.history.session import Deadline, Standstill
from harness.scenario import EmulatedDevice, LoadBehaviour, SaveBehaviour, Scenario
from harness.scenario.fault_plan import Delay, Drop, HoldConnections, Select, Until
from tests.records import held

SIZE = 1 << 16
SMALL = EmulatedDevice(id="vfio0", size=SIZE, bar_size=4096)
STILL_S = Scenario(name="defaults").standstill_s
LONG_S = STILL_S + 1.0
MOST_S = 60.0


@pytest.mark.requirement("LIF-1")
async def test_hang_ends_long_before_its_deadline(judged, kept) -> None:
    """The destination waits for a packet that never comes, and does not answer meanwhile."""
    drop = Drop(select=Select(config=True))
    run = await judged(Scenario(name="hang", devices=(SMALL,), faults=(drop,), deadline_s=MOST_S))
    (deadline,) = held(run, Deadline)
    assert deadline.waiting_for == "the end of source and destination"
    assert isinstance(deadline.waited_s, float)
    if run.verdict.finding("LIF-1").outcome is Outcome.VIOLATED:
        (still,) = held(run, Standstill)
        assert STILL_S <= still.still_s < deadline.waited_s < MOST_S
        assert min(still.threads[side] for side in ("source", "destination")) > 4
        backtraces = [hung.backtrace for hung in held(run, Hung)]
        is_known = (
            words.endswith("(no backtrace: it is a known deviation)") for words in backtraces
        )
        assert len(backtraces) == 2
        assert all(is_known), "gdb would add nothing, and takes its time"
    else:
        assert deadline.waited_s == MOST_S, "it waits as it must: the deadline keeps its meaning"
    kept(run, "LIF-1", case="the main thread waits for the load threads")


@pytest.mark.parametrize(
    ("device", "fault"),
    [
        ({"save": SaveBehaviour(read_delay_s=LONG_S)}, None),
        ({"load": LoadBehaviour(write_delay_s=LONG_S)}, None),
        ({}, Delay(delay_s=LONG_S)),
        ({}, HoldConnections(until=Until(delay_s=LONG_S))),
    ],
    ids=["read", "write", "packet", "connections"],
)
async def test_scenario_that_waits_on_purpose_does_not_hang(judged, device, fault) -> None:
    spec = EmulatedDevice(id="vfio0", size=SIZE, bar_size=4096, **device)
    faults = () if fault is None else (fault,)
    run = await judged(Scenario(name="slow", devices=(spec,), faults=faults, deadline_s=MOST_S))
    outcomes = [run.verdict.finding(each).outcome for each in ("RUN", "ORD-1", "ORD-4")]
    assert outcomes == [Outcome.VALID] * 3
    assert not held(run, Standstill)
    began, *_, ended = (r.t_ns for r in run.history.records if r.name == "MIGRATION")
    assert ended - began >= STILL_S * 1e9, "it waited for longer than a hang is waited for"


@pytest.mark.scenario(devices=(SMALL,), deadline_s=MOST_S)
@pytest.mark.parametrize("side", [Side.SOURCE, Side.DESTINATION])
async def test_qemu_that_is_stopped_for_a_while_does_not_hang(pair_booted, side) -> None:
    """A stopped thread is not asleep: it may be continued."""
    process = getattr(pair_booted, side).vm.process
    process_is_stopped = asyncio.Event()

    async def go_on() -> None:
        await process_is_stopped.wait()
        await asyncio.sleep(LONG_S)
        os.kill(process.pid, signal.SIGCONT)

    def stop(record) -> None:
        if record.name == "MIGRATION" and not process_is_stopped.is_set():
            os.kill(process.pid, signal.SIGSTOP)
            process_is_stopped.set()

    pair_booted.log.listen(stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        await pair_booted.migrate()
    history = await pair_booted.stop()
    assert not held(history, Standstill)
    assert not held(history, Deadline)
    assert process_is_stopped.is_set()
