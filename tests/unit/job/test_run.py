"""One run: what was seen is judged, and kept with what repeats it."""

import asyncio
import os
from pathlib import Path

import pytest

from harness.check.verdict import Outcome, from_json
from harness.errors import HistoryError, PrerequisiteMissing, UsageError, VMError
from harness.history.rundir import SOURCE_STDERR, RunDir
from harness.job import run
from harness.job.run import run_in, run_scenario
from harness.scenario import Scenario
from tests.unit.check.histories import replaced
from tests.unit.saved_runs import valid_run, violated_run


class Heir:
    """A QEMU that was handed over."""

    def __init__(self):
        self.is_ended = False

    async def give_up(self):
        self.is_ended = True


class Sees:
    """A session that sees ``history``, or fails with ``error`` after QEMU said something."""

    def __init__(self, history=None, error=None, qemu_spoke=True, heir=None):
        self.history, self.error, self.qemu_spoke, self.heir = history, error, qemu_spoke, heir

    def __call__(self, scenario, rundir, trace_events, progress, has_capture, given, assess):
        self.scenario, self.rundir, self.trace_events = scenario, rundir, trace_events
        self.has_capture, self.given, self.assess = has_capture, given, assess
        progress("boot")
        return self

    async def run(self):
        if self.qemu_spoke:
            (self.rundir.path / SOURCE_STDERR).write_text("")
        if self.error:
            raise self.error
        return self.history


@pytest.fixture
def sessions(monkeypatch):
    """Each session that is made is the next of these."""

    def put(*sees):
        left = iter(sees)

        def made(*given):
            return next(left)(*given)

        monkeypatch.setattr(run, "Session", made)

    return put


@pytest.fixture
def session(sessions):
    def put(**fields):
        sees = Sees(**fields)
        sessions(sees)
        return sees

    return put


async def test_run_is_judged_and_its_directory_has_verdict_and_script(session, tmp_path):
    history = violated_run()
    sees = session(history=history)
    steps: list[str] = []
    (made,) = await run_scenario(
        history.scenario, tmp_path, trace_events="given", progress=steps.append, has_capture=True
    )
    assert made.verdict.overall is Outcome.VIOLATED
    assert made.history is history
    assert made.rundir == tmp_path / "liar-0001"
    assert from_json((made.rundir / "verdict.json").read_bytes()) == made.verdict
    assert os.access(made.rundir / "by-hand.sh", os.X_OK)
    assert steps == ["boot", "judge"]
    assert sees.trace_events == "given"
    assert sees.has_capture


async def test_scenario_that_cannot_be_run_is_refused_and_leaves_nothing(session, tmp_path):
    session(history=violated_run())
    with pytest.raises(UsageError, match="x: seed is -1"):
        await run_scenario(Scenario(name="x", seed=-1), tmp_path)
    assert not list(tmp_path.iterdir())


TWO = Scenario(name="first", then=(Scenario(name="second", qemu="/other/qemu"),))


async def test_migrations_that_follow_are_made_by_the_qemu_that_goes_on_and_judged(
    sessions, tmp_path
):
    history, heir, steps = violated_run(), Heir(), []
    first, second = Sees(history, heir=heir), Sees(history)
    sessions(first, second)
    made = await run_scenario(TWO, tmp_path, progress=steps.append, has_capture=True)
    assert [each.rundir for each in made] == [tmp_path / "first-0001", tmp_path / "second-0001"]
    assert all((each.rundir / "verdict.json").exists() for each in made)
    assert {each.verdict.overall for each in made} == {Outcome.VIOLATED}
    assert (first.given, second.given) == (None, heir)
    assert (first.scenario.name, second.scenario.name) == ("first", "second")
    assert second.scenario.qemu == "/other/qemu"
    assert (first.has_capture, second.has_capture) == (True, False)
    assert steps == ["boot", "boot", "judge"], "a verdict is not waited for in between"
    assert heir.is_ended


async def test_migration_that_no_qemu_is_there_for_is_not_made(sessions, tmp_path):
    sessions(Sees(violated_run()))
    (made,) = await run_scenario(TWO, tmp_path)
    assert made.rundir.name == "first-0001"


@pytest.mark.parametrize("qemu_spoke", [True, False])
async def test_qemu_between_two_migrations_is_ended_whatever_happens(
    sessions, tmp_path, qemu_spoke
):
    heir = Heir()
    sessions(Sees(violated_run(), heir=heir), Sees(error=VMError("lost"), qemu_spoke=qemu_spoke))
    with pytest.raises(VMError, match="lost"):
        await run_scenario(TWO, tmp_path)
    assert heir.is_ended
    assert (tmp_path / "first-0001").exists()
    assert (tmp_path / "second-0001").exists() is qemu_spoke


async def test_qemu_that_no_session_can_be_made_for_is_ended(sessions, tmp_path):
    def full(*_given):
        raise VMError("no space")

    heir = Heir()
    sessions(Sees(violated_run(), heir=heir), full)
    with pytest.raises(VMError, match="no space"):
        await run_scenario(TWO, tmp_path)
    assert heir.is_ended


async def test_where_not_all_directories_can_be_made_none_is_left(tmp_path, monkeypatch):
    create = RunDir.create

    def full(runs_dir, name):
        if name == "second":
            raise VMError("no space")
        return create(runs_dir, name)

    monkeypatch.setattr(RunDir, "create", full)
    with pytest.raises(VMError, match="no space"):
        await run_scenario(TWO, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_lost_run_leaves_no_directory_where_no_qemu_spoke(session, tmp_path):
    session(error=PrerequisiteMissing("no QEMU"), qemu_spoke=False)
    with pytest.raises(PrerequisiteMissing):
        await run_scenario(Scenario(name="x"), tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_lost_run_keeps_what_qemu_said(session, tmp_path):
    session(error=VMError("lost"))
    with pytest.raises(VMError):
        await run_in([RunDir.create(tmp_path, "x")], Scenario(name="x"))
    assert (tmp_path / "x-0001" / SOURCE_STDERR).exists()


async def test_run_that_cannot_be_judged_can_be_repeated_by_hand(session, tmp_path, monkeypatch):
    def broken(_history):
        raise VMError("a rule is broken")

    history = violated_run()
    session(history=history)
    monkeypatch.setattr("harness.check.judge.judge", broken)
    with pytest.raises(VMError):
        await run_scenario(history.scenario, tmp_path)
    assert (tmp_path / "liar-0001" / "by-hand.sh").exists()


async def test_trace_event_that_a_qemu_writes_otherwise_is_named_before_it_is_judged(
    session, tmp_path
):
    history = valid_run()
    incoming = next(r for r in history.records if r.name.endswith("buffer_incoming"))
    session(history=replaced(history, incoming, args={"buffer": 0}))
    with pytest.raises(HistoryError, match=r"buffer_incoming: .*missing required field `idx`"):
        await run_scenario(history.scenario, tmp_path)


async def test_exception_of_a_rule_goes_up_and_the_directory_stays(session, tmp_path, monkeypatch):
    error = KeyError("typo")

    def broken(_history):
        raise error

    history = violated_run()
    session(history=history)
    monkeypatch.setattr("harness.check.judge.judge", broken)
    with pytest.raises(KeyError) as caught:
        await run_scenario(history.scenario, tmp_path)
    assert caught.value is error
    assert (tmp_path / "liar-0001" / SOURCE_STDERR).exists()


def test_missing_qemu_really_leaves_nothing(tmp_path: Path):
    with pytest.raises(PrerequisiteMissing, match="no such QEMU"):
        asyncio.run(run_scenario(Scenario(name="x", qemu="/no/such/qemu"), tmp_path))
    assert list(tmp_path.iterdir()) == []
