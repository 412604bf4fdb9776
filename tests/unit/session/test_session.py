"""A session: its phases, and how it is left, with programs that pass for QEMUs."""

import asyncio
import os
import threading

import pytest

from harness.errors import (
    CannotRunHere,
    HarnessError,
    HistoryError,
    LaunchError,
    PrerequisiteMissing,
    VMError,
)
from harness.history import Side, rundir
from harness.history.process import HandedOver
from harness.history.rundir import RunDir
from harness.history.session import Continued, NotContinued
from harness.scenario import Scenario
from harness.session import ending, source
from harness.session.assessment import Assessment
from harness.session.session import Limit, Session
from harness.vfio.state_bytes import Stopped
from harness.vm import qmp

pytestmark = pytest.mark.usefixtures("no_gdb")
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """What is not answered or does not end is waited for as long as a fake needs."""
    monkeypatch.setattr(source, "SETTLE_S", 0.2)
    monkeypatch.setattr(ending, "SETTLE_S", 0.2)


@pytest.fixture
def session(scenario, tmp_path):
    """A session of a scenario of two fake QEMUs."""

    def make(*behaviours, given=None, progress=None, assess=None, **fields):
        wanted = scenario(*behaviours, **fields)
        target = RunDir.create(tmp_path / "runs", wanted.name)
        quiet = progress or (lambda _step: None)
        return Session(wanted, target, progress=quiet, given=given, assess=assess)

    return make


def named(made, name, side=None):
    return [
        record.args
        for record in made.records
        if record.name == name and side in (None, record.side)
    ]


def statuses(made, side):
    return [
        record.args["status"]
        for record in made.records
        if record.name == "MIGRATION" and record.side is side
    ]


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(made):
    """Exit statuses, or signals as negative numbers."""
    return [-args.signal if args.signal else args.status for args in named(made, "exited")]


def pids(made):
    return [args.pid for args in named(made, "launched")]


# -- the phases --------------------------------------------------------------------------


async def test_migration_that_completes_is_a_history_and_leaves_no_process(session):
    steps = []
    made = session(progress=steps.append)
    history = await made.run()
    assert statuses(made, Side.SOURCE) == ["setup", "active", "completed"]
    assert statuses(made, Side.DESTINATION) == ["setup", "active", "completed"]
    assert steps == ["boot", "migrate", "transfer", "compare"]
    assert history.records == rundir.load(made.rundir.path).records
    assert history.manifest.complete
    assert history.manifest.source.path == made.scenario.qemu
    assert history.manifest.destination.path == made.scenario.qemu_dst
    assert ends(made) == [0, 0]
    assert len(pids(made)) == 2
    assert not any(map(is_there, pids(made)))
    assert made.heir is None


async def test_phases_can_be_taken_one_by_one(session):
    async with session() as made:
        assert await made.boot()
        assert made.source.is_up
        assert made.destination.is_up
        assert made.survivor() is None, "nothing has ended"
        await made.migrate()
        assert made.survivor() is made.destination
        await made.stop()
    assert not any(map(is_there, pids(made)))


@pytest.mark.parametrize("side", [0, 1])
async def test_qemu_that_refuses_to_start_is_left_to_the_verdict(session, side):
    behaviours = [{}, {}]
    behaviours[side] = {"refuses_to_start": "no, thank you"}
    made = session(*behaviours)
    history = await made.run()
    facts = (history.manifest.source, history.manifest.destination)
    assert facts[side].version == (10, 0, 2), "the build was asked without a machine"
    assert not statuses(made, Side.SOURCE)
    assert sorted(ends(made)) == [0, 1]
    assert not any(map(is_there, pids(made)))


async def test_qemu_whose_build_is_to_blame_cannot_run_here(session):
    answers = {"query-machines": [], "qom-list-types": []}
    made = session({"refuses_to_start": "no such accelerator", "answers": answers})
    with pytest.raises(CannotRunHere, match="this build has no TCG"):
        await made.run()
    assert not any(map(is_there, pids(made)))


async def test_build_that_is_too_old_is_named(session):
    with pytest.raises(PrerequisiteMissing, match=r"QEMU 9\.2\.0 has no multifd transfer"):
        await session({"version": "9.2.0"}).run()


async def test_refused_settings_are_left_to_the_verdict(session):
    schema = [
        {"name": "migrate-set-capabilities", "arg-type": "0"},
        {"name": "migrate-set-parameters", "arg-type": "1"},
        {"name": "0", "members": []},
        {"name": "1", "members": []},
    ]
    made = session(
        {
            "refuses": {"migrate-set-parameters": "I will not"},
            "answers": {"query-qmp-schema": schema},
        }
    )
    await made.run()
    assert not made.source.is_up
    assert made.destination.is_up
    assert not statuses(made, Side.SOURCE)
    assert not named(made, "deadline")


async def test_qemu_that_hangs_as_it_is_set_up_is_recorded_and_judged(session, monkeypatch):
    monkeypatch.setattr(qmp.Monitor.execute, "__defaults__", (None, 0.2))
    made = session({"deaf_to": ["migrate-set-parameters"]})
    await made.run()
    ((waited, hung),) = zip(named(made, "deadline"), named(made, "hung"), strict=True)
    assert "migrate-set-parameters was not answered" in waited.waiting_for
    assert waited.waited_s is None
    assert hung.waiting_for == waited.waiting_for
    assert not made.source.is_up


async def test_qemu_that_dies_as_it_migrates_costs_nothing_but_the_migration(session):
    made = session({"dies_of": ["migrate"]})
    await made.run()
    (waited,) = named(made, "deadline")
    assert waited.waiting_for == "the end of destination after the other side had ended"
    assert sorted(ends(made)) == [-9, 0]
    assert not any(map(is_there, pids(made)))


async def test_refused_migration_is_in_the_records(session):
    made = session({"refuses": {"migrate": "not now"}})
    await made.run()
    assert not named(made, "deadline")
    refusals = [args for args in named(made, "error") if args["command"] == "migrate"]
    assert [args["desc"] for args in refusals] == ["not now"]


async def test_migration_that_does_not_end_is_recorded_and_its_qemus_are_ended(session):
    made = session({"stays": ["active"], "answers": {"query-migrate": {"status": "active"}}},
                   deadline_s=0.3)  # fmt: skip
    await made.run()
    (waited,) = named(made, "deadline")
    assert waited.waiting_for == "the end of source and destination"
    assert waited.waited_s == 0.3
    assert {args.main_loop_alive for args in named(made, "hung")} == {True}
    assert not any(map(is_there, pids(made)))


async def test_migration_in_which_nothing_moves_any_more_is_assessed_and_ends(session):
    """Two real processes, that sleep.  What is right at first is wrong once more was seen."""
    seen = []

    def assess(history):
        seen.append([record.name for record in history.records])
        if len(seen) > 1:
            return Assessment.NEW
        made.log.record(NotContinued("something else"))
        return Assessment.RIGHT

    made = session({"stays": ["active"]}, deadline_s=3600.0, standstill_s=0.3, assess=assess)
    await made.run()
    (still,), (waited,) = named(made, "standstill"), named(made, "deadline")
    assert still.still_s >= 0.3
    assert still.threads.keys() == {"source", "destination"}
    assert waited.waited_s < 3600
    assert [names[-4:] for names in seen] == [["standstill", "deadline", "hung", "hung"]] * 2
    assert not any(map(is_there, pids(made)))


async def test_history_that_cannot_be_judged_yet_is_waited_for(session):
    def assess(_history):
        raise HistoryError("a line is not complete")

    made = session({"stays": ["active"]}, deadline_s=1.0, standstill_s=0.2, assess=assess)
    await made.run()
    assert named(made, "standstill") == []


async def test_question_that_is_not_answered_is_given_up_when_nothing_moves(session, monkeypatch):
    monkeypatch.setattr(qmp.Monitor.execute, "__defaults__", (None, 3600.0))
    made = session({"deaf_to": ["query-status"]}, standstill_s=0.3)
    await made.run()
    assert [hung.waiting_for for hung in named(made, "hung")] == ["query-status"]
    assert named(made, "deadline") == [], "the migration itself has ended"


# -- one migration after another ---------------------------------------------------------


AGAIN = (Scenario(name="again", devices=()),)


async def test_qemu_that_runs_the_guest_is_handed_over_and_goes_on(session, scenario, tmp_path):
    first = session(then=AGAIN)
    await first.run()
    heir = first.heir
    assert heir is first.destination
    assert heir.vm.is_running
    source_pid, heir_pid = (
        first.source.vm.process.pid, first.destination.vm.process.pid,
    )  # fmt: skip
    assert not is_there(source_pid)
    assert named(first, "handed_over", Side.DESTINATION) == [HandedOver()]

    second = session(given=heir, name="again")
    await second.run()
    assert second.source is heir
    assert heir.side is Side.SOURCE
    assert named(second, "continued") == [Continued("completed", False)]
    assert named(second, "launched", Side.SOURCE)[0].pid == heir_pid
    assert statuses(second, Side.SOURCE) == ["setup", "active", "completed"]
    assert second.heir is None
    assert not is_there(heir_pid)
    assert not any(map(is_there, pids(second)))


async def test_source_goes_on_after_a_failure(session):
    first = session({"fails": True}, then=AGAIN)
    await first.run()
    assert first.heir is first.source
    second = session(given=first.heir, name="again")
    await second.run()
    assert named(second, "continued") == [Continued("failed", False)]
    assert not any(map(is_there, pids(second)))


async def test_migration_that_no_qemu_is_left_for_is_recorded(session):
    made = session({"dies_of": ["migrate"]}, then=AGAIN)
    await made.run()
    assert made.heir is None
    assert named(made, "not_continued") == [NotContinued("again")]
    assert not any(map(is_there, pids(made)))


async def test_qemu_is_not_handed_over_by_a_session_that_fails(session, monkeypatch):
    def full(_self, _records):
        raise VMError("no space")

    monkeypatch.setattr(RunDir, "write_history", full)
    made = session(then=AGAIN)
    with pytest.raises(VMError, match="no space"):
        await made.run()
    assert made.heir is None
    assert len(pids(made)) == 2
    assert not any(map(is_there, pids(made)))


async def test_qemu_that_a_session_cannot_take_is_ended(session, monkeypatch):
    first = session(then=AGAIN)
    await first.run()
    monkeypatch.setattr(RunDir, "write_scenario", lambda *_: (_ for _ in ()).throw(VMError("full")))
    with pytest.raises(VMError, match="full"):
        await session(given=first.heir, name="again").run()
    assert not is_there(first.destination.vm.process.pid)


# -- how it is left ----------------------------------------------------------------------


@pytest.mark.parametrize("step", ["boot", "migrate", "transfer", "compare"])
@pytest.mark.parametrize("then", [(), AGAIN])
async def test_cancelled_session_leaves_no_process(session, step, then):
    reached = asyncio.Event()

    def progress(now):
        if now == step:
            reached.set()

    made = session(progress=progress, then=then)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        await reached.wait()
        task.cancel()
    assert task.cancelled()
    assert not any(map(is_there, pids(made)))
    assert made.heir is None
    assert not list(made.rundir.path.glob("*.new"))


async def test_session_that_cannot_begin_leaves_nothing(session, tmp_path):
    made = session()
    made.scenario = Scenario(
        name="x", devices=(), trace=(), qemu=made.scenario.qemu, qemu_dst="/no/such/qemu"
    )
    with pytest.raises(PrerequisiteMissing, match="no such QEMU"):
        await made.run()
    assert not pids(made)


async def test_program_that_is_none_is_lost(session, tmp_path):
    made = session()
    (tmp_path / "source").write_text("no program")
    with pytest.raises(HarnessError) as caught:
        await made.run()
    assert isinstance(caught.value, LaunchError | PrerequisiteMissing)
    assert not any(map(is_there, pids(made)))


# -- its own work on states --------------------------------------------------------------


def test_work_within_the_limit_goes_on():
    Limit(threading.Event(), 60.0)()


def test_work_beyond_the_limit_is_stopped_with_the_limit_named():
    with pytest.raises(Stopped, match=r"longer than -1 s"):
        Limit(threading.Event(), -1.0)()


def test_work_of_a_session_that_has_ended_is_stopped():
    ended = threading.Event()
    limit = Limit(ended, 60.0)
    limit()
    ended.set()
    with pytest.raises(Stopped, match="interrupted"):
        limit()
