"""A finding is shown again, or what was seen instead is told."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from harness.check.deviations import Deviation
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.commands import repro
from harness.errors import UsageError, VMError
from harness.history.rundir import History, load
from harness.job import findings
from harness.job.known import known_deviations
from harness.job.run import Run
from harness.job.settings import Settings
from harness.scenario import Scenario
from tests.unit.called import one_line
from tests.unit.saved_runs import load_compressed, valid_run, violated_run

DATA = Path(__file__).parents[2] / "data"
LIAR = Deviation(
    requirement="ORD-1", case="liar", versions=">=1.0", shape="bytes-differ", cause="a lie"
)


@pytest.fixture
def show(monkeypatch, tmp_path):
    """Shows ``deviation`` with runs that end as given; (status, what was told)."""

    def call(deviation, *ends):
        left = list(ends)
        made = []

        async def run(scenario, _runs, *, trace_events):
            made.append((scenario, trace_events))
            end = left.pop(0)
            if isinstance(end, Exception):
                raise end
            histories = end if isinstance(end, tuple) else (end,)
            folders = (tmp_path / "run", tmp_path / "second")
            return tuple(
                Run(folder, each, judge(each))
                for folder, each in zip(folders, histories, strict=False)
            )

        monkeypatch.setattr(repro, "run_scenario", run)
        monkeypatch.setattr(repro, "with_builds", lambda scenario, _settings: scenario)
        monkeypatch.setattr(findings, "named", lambda _names: (deviation,))
        monkeypatch.setattr(findings, "scenario_of", lambda _deviation: Scenario(name="any"))
        told: list[str] = []
        status = repro.repro([], Settings(), tmp_path, "events", told.append)
        assert all(each[0].name == deviation.name for each in made)
        assert all(each[1] == "events" for each in made)
        return status, told, len(made)

    return call


@pytest.fixture
def taken(tmp_path) -> History:
    """A run that an intermittent known deviation took."""
    into = tmp_path / "taken"
    into.mkdir()
    return load_compressed(DATA / "known" / "lif-4-cancel-reported-as-a-failure", into)


def replaced(**fields):
    return msgspec.structs.replace(LIAR, **fields)


def test_finding_that_shows_is_told_with_its_evidence(show, tmp_path):
    status, (line,), _ = show(LIAR, violated_run())
    assert status == repro.SHOWN
    assert line.startswith("ord-1-liar: shown: ")
    assert f"see {tmp_path / 'run'}/" in line


def test_finding_may_show_in_the_migration_that_follows(show, tmp_path):
    status, (line,), _ = show(LIAR, (valid_run(), violated_run()))
    assert status == repro.SHOWN
    assert f"see {tmp_path / 'second'}/" in line


def test_finding_with_another_violation_is_not_what_is_to_be_shown(show, tmp_path):
    other = load(DATA / "violated" / "RUN" / "guest-memory")
    status, (line,), _ = show(LIAR, (violated_run(), other))
    assert status == repro.NOT_SHOWN
    assert line.startswith("ord-1-liar: NOT shown alone: so was RUN violated: ")
    assert f"see {tmp_path / 'second'}/" in line


def test_valid_run_shows_nothing(show):
    status, (line,), runs = show(LIAR, valid_run())
    assert (status, runs) == (repro.NOT_SHOWN, 1)
    assert line == "ord-1-liar: NOT shown: valid"


def test_run_that_an_intermittent_deviation_took_is_repeated(show, taken):
    status, (line,), runs = show(LIAR, taken, violated_run())
    assert (status, runs) == (repro.SHOWN, 2)
    assert "shown in run 2: " in line


def test_run_that_shows_other_known_deviations_alone_is_repeated(show, tmp_path):
    into = tmp_path / "other"
    into.mkdir()
    other = load_compressed(
        DATA / "known" / "ref-4-the-main-thread-waits-for-the-load-threads", into
    )
    status, _, runs = show(LIAR, other, violated_run())
    assert (status, runs) == (repro.SHOWN, 2)


def test_run_that_cannot_be_judged_is_repeated(show):
    undecided = dataclasses.replace(valid_run(), records=[])
    assert judge(undecided).overall is Outcome.UNKNOWN
    status, _, runs = show(LIAR, undecided, violated_run())
    assert (status, runs) == (repro.SHOWN, 2)


def test_runs_that_show_nothing_are_given_up(show, taken):
    status, (line,), runs = show(LIAR, *[taken] * repro.REPEATS)
    assert (status, runs) == (repro.NOT_SHOWN, repro.REPEATS)
    assert f"NOT shown in {repro.REPEATS} runs, but LIF-4 violated: " in line


def test_valid_run_after_a_repetition_shows_nothing(show, taken):
    status, _, runs = show(LIAR, taken, valid_run())
    assert (status, runs) == (repro.NOT_SHOWN, 2)


def test_another_failure_is_not_taken_for_it(show):
    status, (line,), _ = show(replaced(shape="something-else"), violated_run())
    assert status == repro.NOT_SHOWN
    assert "NOT shown, but ORD-1 violated: " in line


def test_intermittent_finding_is_tried_until_it_shows(show):
    often = replaced(intermittent=True)
    status, (line,), runs = show(often, valid_run(), valid_run(), violated_run())
    assert (status, runs) == (repro.SHOWN, 3)
    assert "shown in run 3: " in line


def test_intermittent_finding_that_never_shows_is_given_up(show):
    ends = [valid_run()] * repro.TRIES
    status, (line,), runs = show(replaced(intermittent=True), *ends)
    assert (status, runs) == (repro.NOT_SHOWN, repro.TRIES)
    assert line.endswith(f"NOT shown in {repro.TRIES} runs: valid")


def test_intermittent_finding_is_looked_for_past_other_failures(show):
    once = replaced(intermittent=True, shape="something-else")
    ends = [valid_run(), violated_run(), *[valid_run()] * (repro.TRIES - 2)]
    status, (line,), runs = show(once, *ends)
    assert (status, runs) == (repro.NOT_SHOWN, repro.TRIES)
    assert f"NOT shown in {repro.TRIES} runs, but ORD-1 violated: " in line


def test_only_runs_that_say_something_are_kept(monkeypatch, tmp_path, taken):
    ends = iter([valid_run(), taken, valid_run(), violated_run()])

    async def run(scenario, runs_dir, *, trace_events):
        folder = runs_dir / f"{len(list(made))}"
        made.append(folder)
        folder.mkdir(parents=True)
        end = next(ends)
        return (Run(folder, end, judge(end)),)

    made: list[Path] = []
    often = replaced(intermittent=True)
    monkeypatch.setattr(repro, "run_scenario", run)
    monkeypatch.setattr(repro, "with_builds", lambda scenario, _settings: scenario)
    monkeypatch.setattr(findings, "named", lambda _names: (often,))
    monkeypatch.setattr(findings, "scenario_of", lambda _deviation: Scenario(name="any"))
    assert repro.repro([], Settings(), tmp_path / "runs", "", lambda _line: None) == repro.SHOWN
    assert [folder.exists() for folder in made] == [False, False, False, True]

    ends = iter([valid_run(), taken, valid_run(), *[valid_run()] * (repro.TRIES - 3)])
    made.clear()
    runs = tmp_path / "others"
    assert repro.repro([], Settings(), runs, "", lambda _line: None) == repro.NOT_SHOWN
    assert [folder.name for folder in made if folder.exists()] == ["1"]


def test_known_deviation_that_came_instead_is_named(show, taken):
    _, (line,), _ = show(LIAR, *[taken] * repro.REPEATS)
    assert "(known deviation lif-4-cancel-reported-as-a-failure)" in line


def test_finding_of_other_versions_is_not_asked_for(show):
    status, (line,), _ = show(replaced(versions="<2.0"), violated_run())
    assert status == repro.NOT_AFFECTED
    assert line.startswith("ord-1-liar: not of QEMU ")


def test_lost_run_is_told_and_is_the_worst(show):
    status, (line,), _ = show(LIAR, VMError("it is gone"))
    assert (status, line) == (repro.LOST, "ord-1-liar: LOST: it is gone")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ord-4-guest-writes-the-interupt-line", "did you mean ord-4-guest-writes-the-interrupt-l"),
        ("ORD-4-register", "README.md has a page with the findings"),
        ("ORD-4-Guest", "did you mean ord-4-guest-writes-the-interrupt-line?"),
        ("nothing", "README.md has a page with the findings"),
        ("", "README.md has a page with the findings"),
    ],
)
def test_unknown_name_is_refused_with_what_is_near(name, near):
    with pytest.raises(UsageError) as refused:
        findings.named((name,))
    assert str(refused.value).startswith(f"{name}: no such finding; ")
    assert near in str(refused.value)


def test_no_name_means_all():
    assert findings.named(()) == known_deviations()


def test_each_finding_has_a_scenario_and_each_scenario_a_finding():
    names = {deviation.name for deviation in known_deviations()}
    assert len(names) == len(known_deviations())
    assert {path.stem for path in findings.FOLDER.glob("*.json")} == names
    for deviation in known_deviations():
        scenario = findings.scenario_of(deviation)
        assert scenario.name == deviation.name
        assert not scenario.qemu
        assert not scenario.qemu_dst


def test_names_and_builds_are_passed_on(call, monkeypatch):
    seen = []

    def show(names, settings, runs_dir, trace_events, say):
        seen.append((names, settings, runs_dir, trace_events))
        say("a: shown")
        return 2

    monkeypatch.setattr(repro, "repro", show)
    argv = ("--qemu", "q", "--qemu-dst", "d", "--runs", "r", "--trace-events", "t")
    assert call("repro", "a", *argv) == (2, "a: shown\n", "")
    assert seen == [(["a"], Settings(qemu="q", qemu_dst="d"), Path("r"), "t")]


def test_finding_that_is_not_known_is_one_line(call):
    status, _, err = call("repro", "no-such-finding")
    assert status == 4
    assert "no-such-finding" in one_line(err)
