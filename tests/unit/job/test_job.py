"""A job makes its runs, and reports on them."""

import asyncio
import json
import os
import re
import shlex
import signal
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
from harness.job import runs as job_runs
from harness.job.run import Run
from harness.job.runs import RunOptions
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
    """Runs scenarios whose ends are given: a history, an error, or what returns one of these."""

    def run(*ends, is_json=False, folder="runs", **fields):
        async def made(rundirs, scenario, *, progress, **_how):
            progress("boot")
            (rundirs[0].path / SOURCE_STDERR).write_text("")
            end = ends[int(scenario.name.removeprefix("run"))]
            if callable(end):
                end = await end()
            if isinstance(end, BaseException):
                raise end
            histories = end if isinstance(end, tuple) else (end,)
            return tuple(Run(rundirs[0].path, each, judge(each)) for each in histories)

        monkeypatch.setattr(job_runs, "run_in", made)
        complaints: list[str] = []
        wanted = [Scenario(name=f"run{n}") for n in range(len(ends))]
        options = RunOptions(runs_dir=tmp_path / folder, is_json=is_json, **fields)
        status = job.run(wanted, options, complain=complaints.append)
        return status, complaints

    return run


def after(seconds, end):
    async def wait():
        await asyncio.sleep(seconds)
        return end

    return wait


in_workers = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
"""pytest's process, of which workers are forked, may have threads; the program's has none then."""


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


@in_workers
def test_runs_at_the_same_time_are_printed_as_those_one_after_another(runs, capfd):
    lacks = CannotRunHere("no TLS")
    ends = (
        after(0.4, valid_run()),
        violated_run(),
        after(0.1, (valid_run(), violated_run())),
        VMError("it is gone"),
        lacks,
        after(0.2, VMError("it is gone")),
        valid_run(),
    )
    seen = []
    for jobs in (1, 3):
        status, complaints = runs(
            *ends, jobs=jobs, has_steps=True, may_leave_out=True, folder=f"runs{jobs}"
        )
        out, err = capfd.readouterr()
        assert err == ""
        words = [status, *complaints, *out.splitlines()]
        seen.append([re.sub(r"runs\d|\d+\.\d\d s", "", str(each)) for each in words])
    assert seen[0] == seen[1]
    assert seen[0][0] == "3"


@in_workers
def test_step_of_the_first_run_that_goes_on_is_printed_at_once(runs, capfd, tmp_path):
    """Those of the others when they are the first: a hang is the last line."""

    async def sees_its_step():
        await asyncio.sleep(0.3)  # the other is further by now
        (tmp_path / "seen").write_text(capfd.readouterr().out)
        return valid_run()

    runs(sees_its_step, valid_run(), jobs=2, has_steps=True)
    assert (tmp_path / "seen").read_text() == "     run0: start\n     run0: boot\n"


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize(
    ("bad", "status"), [(violated_run(), 1), (VMError("it is gone"), 3)], ids=["violated", "lost"]
)
@in_workers
def test_after_the_first_bad_run_no_other_is_wanted(runs, tmp_path, capsys, jobs, bad, status):
    """Those before it come to their ends; what was begun after it is ended, and nothing is left."""
    found = runs(
        after(0.3, valid_run()),
        after(0.1, bad),
        *(after(3600.0, valid_run()), VMError("another"), valid_run(), valid_run()),
        jobs=jobs,
        exit_first=True,
    )
    assert found[0] == status
    out = capsys.readouterr().out
    words = [line.split()[1:2] for line in out.splitlines()[:3]]
    assert words == [["valid"], ["VIOLATED" if status == 1 else "LOST"], []]
    assert "Stopped after run 2 of 6, run1." in " ".join(out.split())
    assert sorted(each.name for each in (tmp_path / "runs").iterdir()) == ["run0-0001", "run1-0001"]


@in_workers
def test_first_of_two_bad_runs_is_the_one_that_is_reported(runs, capsys):
    """Also if the second one ended before."""
    runs(after(0.3, violated_run()), VMError("it is gone"), jobs=2, exit_first=True)
    out = capsys.readouterr().out
    assert "Stopped after run 1 of 2, run0." in out
    assert "LOST" not in out


def test_run_that_is_bad_by_a_known_deviation_or_unknown_stops_nothing(runs, capsys):
    assert runs(CannotRunHere("no TLS"), valid_run(), exit_first=True, may_leave_out=True)[0] == 0
    assert "Stopped" not in capsys.readouterr().out


def test_bad_run_that_is_the_last_stops_nothing(runs, capsys):
    assert runs(valid_run(), violated_run(), exit_first=True)[0] == 1
    assert "Stopped" not in capsys.readouterr().out


@in_workers
def test_run_whose_worker_is_killed_is_lost_and_the_others_are_made(runs, capsys):
    async def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    status, complaints = runs(killed, valid_run(), killed, valid_run(), jobs=2)
    assert status == 3
    assert [each.split(";")[0] for each in complaints] == [
        "run0: its worker: killed by SIGKILL",
        "run2: its worker: killed by SIGKILL",
    ]
    words = [line.split()[1] for line in capsys.readouterr().out.splitlines()[:4]]
    assert words == ["LOST", "valid", "LOST", "valid"]


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
