"""A job makes its runs, and reports on them."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from harness.check.judge import judge
from harness.commands.arguments import faults
from harness.errors import CannotRunHere, HistoryError, PrerequisiteMissing, UsageError, VMError
from harness.history import Record, Side
from harness.history.rundir import SOURCE_STDERR
from harness.history.session import Replayed
from harness.job import job
from harness.job.job import RunOptions
from harness.job.run import Run
from harness.job.settings import Settings
from harness.proxy.capture import Capture
from harness.scenario import (
    MIB,
    EmulatedDevice,
    Scenario,
    Tls,
    Transport,
)
from harness.scenario.fault_plan import Drop, Select
from tests.unit.check.histories import FACTS
from tests.unit.saved_runs import save, valid_run, violated_run

THREE = Scenario(
    name="three", devices=tuple(EmulatedDevice(id=f"d{n}", size=n * MIB, seed=n) for n in (1, 2, 3))
)


# -- running -----------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Runs scenarios whose ends are given: a history, or an error."""

    def run(*ends, is_json=False, **fields):
        left = list(ends)

        async def made(rundir, scenario, *, progress, **_how):
            progress("boot")
            (rundir.path / SOURCE_STDERR).write_text("")
            end = left.pop(0)
            if isinstance(end, BaseException):
                raise end
            histories = end if isinstance(end, tuple) else (end,)
            return tuple(Run(rundir.path, each, judge(each)) for each in histories)

        monkeypatch.setattr(job, "run_in", made)
        complaints: list[str] = []
        wanted = [Scenario(name=f"run{n}") for n in range(len(ends))]
        options = RunOptions(runs_dir=tmp_path / "runs", is_json=is_json, **fields)
        status = job.run(wanted, options, complain=complaints.append)
        return status, complaints

    return run


def test_each_run_is_printed_when_it_ends_and_the_worst_is_the_exit_status(runs, capsys):
    assert runs(valid_run(), violated_run()) == (1, [])
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["valid", "VIOLATED"]


@pytest.mark.parametrize("is_json", [False, True])
def test_steps_are_printed_without_progress_and_with_json_on_standard_error(runs, capsys, is_json):
    runs(valid_run(), has_steps=True, has_progress=False, is_json=is_json)
    out, err = capsys.readouterr()
    steps = "     run0: start\n     run0: boot\n"
    if is_json:
        assert err == steps
        assert json.loads(out)["overall"] == "valid"
    else:
        assert out.startswith(steps)
        assert err == ""


def test_bug_of_a_rule_prints_its_traceback_and_the_other_runs_are_made(runs, tmp_path, capsys):
    status, complaints = runs(valid_run(), KeyError("typo"), violated_run())
    assert status == 3
    folder = tmp_path / "runs" / "run1-0001"
    assert folder.is_dir()
    (told,) = complaints
    assert told.startswith(f"{folder}: KeyError('typo'): a bug of the harness")
    out, err = capsys.readouterr()
    assert "Traceback (most recent call last):" in err
    assert "KeyError: 'typo'" in err
    assert [line.split()[1] for line in out.splitlines()[:3]] == ["valid", "LOST", "VIOLATED"]


def test_capture_of_nothing_is_refused_before_anything_runs(tmp_path):
    wanted = [
        Scenario(name="into-a-file", transport=Transport.FILE),
        Scenario(name="secret", tls=Tls.PSK),
    ]
    with pytest.raises(UsageError, match=r"^into-a-file: no capture: transport is file"):
        job.run(wanted, RunOptions(runs_dir=tmp_path / "runs", has_capture=True), complain=print)
    assert not (tmp_path / "runs").exists()


def test_run_that_followed_another_is_printed_and_counts(runs, capsys):
    assert runs((valid_run(), violated_run()), valid_run()) == (1, [])
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["1", "valid"],
        ["2", "VIOLATED"],
        ["3", "valid"],
    ]


def test_valid_runs_are_removed_on_request_and_no_report_leads_to_them(runs, tmp_path):
    junit = tmp_path / "junit.xml"
    status, _ = runs(
        valid_run(), violated_run(), VMError("lost"), remove_valid=True, reports=[junit]
    )
    assert status == 3
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["run1-0001", "run2-0001"]
    assert "run1-0001" in junit.read_text()
    assert "run0-0001" not in junit.read_text()


def test_all_runs_are_kept_unless_it_is_asked_for(runs, tmp_path):
    assert runs(valid_run())[0] == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run0-0001"]


def test_replay_is_repeated_as_a_replay(runs, capsys):
    history = violated_run()
    drop = Drop(select=Select(idx=(3,)))
    note = Record.of(1, Side.HARNESS, Replayed("a/migration.capture"))
    scenario = msgspec.structs.replace(history.scenario, qemu_dst="/q", relay=True, faults=(drop,))
    runs(replace(history, scenario=scenario, records=[note, *history.records]))
    out = capsys.readouterr().out
    repeat = next(line for line in out.splitlines() if "run again" in line)
    argv = shlex.split(repeat)[2:]
    assert argv[:6] == ["vfio-multifd", "replay", "a/migration.capture", "--qemu", "/q", "--fault"]
    assert faults(argv[6:]) == (drop,)


def test_lost_run_is_one_line_and_the_others_are_made(runs, capsys):
    status, complaints = runs(valid_run(), VMError("it is gone"), violated_run())
    assert status == 3
    assert len(complaints) == 1
    assert "it is gone; see " in complaints[0]
    assert "run1-0001/" in complaints[0]
    assert "VIOLATED: ORD-1" in capsys.readouterr().out


def test_error_that_loses_several_runs_is_complained_about_once(runs):
    same = (PrerequisiteMissing("no trace"), PrerequisiteMissing("no trace"))
    assert len(runs(*same, valid_run())[1]) == 1


def test_main_job_leaves_out_what_cannot_be_run_here_and_says_so(runs, capsys):
    lacks = CannotRunHere("/qemu: this build has no TLS")
    status, complaints = runs(valid_run(), lacks, lacks, may_leave_out=True)
    assert (status, complaints) == (0, [])
    out = " ".join(capsys.readouterr().out.split())
    assert "Left out: run1, run2 /qemu: this build has no TLS" in out
    assert "in 1 run. 2 of 3 runs left out: cannot run here." in out


def test_scenario_that_was_asked_for_is_lost_where_it_cannot_be_run(runs):
    status, complaints = runs(valid_run(), CannotRunHere("/qemu: this build has no TLS"))
    assert status == 3
    assert complaints[0].startswith("/qemu: this build has no TLS")


@pytest.mark.parametrize("error", [PrerequisiteMissing("no setpriv"), VMError("it is gone")])
def test_main_job_leaves_out_nothing_else(runs, error):
    assert runs(valid_run(), error, may_leave_out=True)[0] == 3


def test_main_job_of_which_all_is_left_out_is_not_valid(runs):
    assert runs(CannotRunHere("no vfio-pci"), may_leave_out=True)[0] == 2


def test_where_all_runs_are_lost_the_complaint_is_all(runs, capsys):
    status, complaints = runs(VMError("it is gone"))
    assert (status, len(complaints)) == (3, 1)
    assert "requirement" not in capsys.readouterr().out


def test_bug_in_one_run_keeps_its_traceback_and_the_others_are_made(runs, capsys):
    status, _ = runs(ZeroDivisionError("a bug"), valid_run())
    assert status == 3
    said = capsys.readouterr()
    assert "ZeroDivisionError: a bug" in said.err
    assert "Traceback" in said.err
    assert "2  valid" in said.out


def test_interrupt_reports_what_was_done_and_where_the_rest_is(runs, capsys):
    status, _ = runs(violated_run(), KeyboardInterrupt(), valid_run())
    assert status == 130
    out = capsys.readouterr().out
    assert "ORD-1 VIOLATED" in out
    assert "INTERRUPTED: run 2 of 3, run1; what it wrote is in " in out
    assert "run2" not in out


def test_json_is_all_that_goes_to_standard_output(runs, capsys):
    status, _ = runs(valid_run(), is_json=True)
    assert status == 0
    assert json.loads(capsys.readouterr().out)["overall"] == "valid"


def test_repeating_a_run_needs_the_trace_events_that_were_given(runs, capsys):
    runs(violated_run(), trace_events="my events")
    assert "scenario.json --trace-events 'my events'" in capsys.readouterr().out


def test_with_a_baseline_the_exit_status_is_about_what_got_worse(runs, tmp_path, capsys):
    before = save(violated_run(), tmp_path / "before")
    assert runs(violated_run(), baseline=before) == (0, [])
    out = capsys.readouterr().out
    assert "VIOLATED: ORD-1" in out
    assert "Compared with the baseline:" in out
    assert "Nothing got worse" in out
    before = save(valid_run(), tmp_path / "good")
    assert runs(violated_run(), baseline=before)[0] == 1


def test_with_a_baseline_a_lost_run_is_still_lost(runs, tmp_path):
    before = save(valid_run(), tmp_path / "before")
    assert runs(VMError("it is gone"), baseline=before)[0] == 3


def test_baseline_is_in_the_document(runs, tmp_path, capsys):
    before = save(valid_run(), tmp_path / "before")
    assert runs(violated_run(), baseline=before, is_json=True)[0] == 1
    found = json.loads(capsys.readouterr().out)
    assert found["baseline"]["exit_status"] == 1
    assert found["runs"][0]["measured"]["memory_kib"] is not None


def test_baseline_without_a_scenario_of_the_job_is_refused_before_anything_runs(runs, tmp_path):
    for history in (valid_run(), violated_run()):
        save(history, tmp_path / "before")
    with pytest.raises(HistoryError, match=r"before: liar, valid; after: run0"):
        runs(valid_run(), baseline=tmp_path / "before")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("machine", "faults", "words"),
    [
        ("q36", (), "machine is 'q36': "),
        ("q35", (Drop(select=Select(channel=4)),), "faults\\[0\\].select.channel is 4"),
    ],
)
def test_replay_that_cannot_be_made_is_refused(build, monkeypatch, machine, faults, words):
    binary = build()
    binary.write_text(binary.read_text() + "echo 'q35  a machine'\n")
    source = msgspec.structs.replace(FACTS, path="/gone/qemu")
    capture = SimpleNamespace(
        scenario=THREE, manifest=SimpleNamespace(source=source, machine=machine)
    )
    monkeypatch.setattr(Capture, "open", lambda _path: capture)
    monkeypatch.setattr(job, "run", lambda *_args, **_how: 0)
    settings = Settings(qemu=str(binary), faults=faults)
    with pytest.raises(UsageError, match=words):
        job.replay(Path("x"), settings, RunOptions(runs_dir=Path("runs")), complain=print)
