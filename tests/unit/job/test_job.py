"""A job: which scenarios are run with which settings, and what a lost one does to the rest."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from harness.check.judge import judge
from harness.commands.arguments import faults
from harness.errors import CannotRunHere, HistoryError, PrerequisiteMissing, UsageError, VMError
from harness.history import Kind, Record, Side
from harness.history.rundir import SOURCE_STDERR
from harness.job import job
from harness.job.job import RunOptions, Settings
from harness.job.run import Run
from harness.scenario import (
    MIB,
    EmulatedDevice,
    MdevDevice,
    Scenario,
    Tls,
    Transport,
    main_job,
    to_json,
)
from harness.scenario.fault_plan import Drop, Hold, Select, Until
from harness.scenario.guest_plan import Guest
from harness.vm.builds import Probe
from tests.unit.check.histories import FACTS
from tests.unit.saved_runs import save, valid_run, violated_run

THREE = Scenario(
    name="three", devices=tuple(EmulatedDevice(id=f"d{n}", size=n * MIB, seed=n) for n in (1, 2, 3))
)


@pytest.fixture
def build(tmp_path):
    """Makes something that passes for an installed QEMU of a version."""

    def make(version: str = "10.0.0") -> Path:
        folder = tmp_path / version
        (folder / "trace").mkdir(parents=True)
        (folder / "trace" / "trace-events-all").write_text("")
        binary = folder / "qemu-system-x86_64"
        binary.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        binary.chmod(0o755)
        return binary

    return make


@pytest.fixture
def saved(tmp_path):
    def save_scenario(scenario: Scenario, name: str = "scenario.json") -> Path:
        path = tmp_path / name
        path.write_bytes(to_json(scenario))
        return path

    return save_scenario


# -- which scenarios ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "settings", "who"),
    [
        ({"qemu": "/gone"}, Settings(), r"the scenario's QEMU \(another: --qemu\)"),
        ({"qemu_dst": "/gone"}, Settings(), r"the scenario's QEMU \(another: --qemu-dst\)"),
        ({"qemu": "/there"}, Settings(qemu="/gone"), "--qemu"),
        ({"qemu_dst": "/there"}, Settings(qemu_dst="/gone"), "--qemu-dst"),
    ],
)
def test_who_named_a_qemu_that_is_not_there_is_said(build, fields, settings, who):
    wanted = Scenario(name="x", **{"qemu": str(build()), **fields})
    with pytest.raises(PrerequisiteMissing, match=f"^{who}: /gone: there is no such QEMU$"):
        job.with_builds(wanted, settings)


def test_without_a_scenario_it_is_the_main_job(build):
    found = job.scenarios([], Settings(qemu=str(build())))
    assert [each.name for each in found] == [each.name for each in main_job.SCENARIOS]


@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize(("source", "destination"), [("10.1.0", "11.1.0"), ("11.1.0", "10.0.3")])
def test_main_job_is_that_of_the_older_build(build, source, destination):
    settings = Settings(qemu=str(build(source)), qemu_dst=str(build(destination)))
    names = {each.name for each in job.scenarios([], settings)}
    assert ("queue-limit" in names) == ("10.0.3" not in (source, destination))


def test_without_a_scenario_but_with_a_shape_it_is_one_plain_scenario(build):
    settings = Settings(qemu=str(build()), channels=8, devices=2, size=5)
    (found,) = job.scenarios([], settings)
    assert found.channels == 8
    assert [(device.id, device.size) for device in found.devices] == [("vfio0", 5), ("vfio1", 5)]


def test_scenario_names_the_qemu_that_will_run_so_that_it_can_be_repeated(build, saved):
    binary = build()
    (found,) = job.scenarios([saved(THREE)], Settings(qemu=str(binary.parent)))
    assert found.qemu == found.qemu_dst == str(binary)


def test_run_directory_stands_for_its_scenario(build, saved, tmp_path):
    saved(THREE)
    (found,) = job.scenarios([tmp_path], Settings(qemu=str(build())))
    assert found.devices == THREE.devices


def test_one_bad_scenario_keeps_all_from_being_run(build, saved, tmp_path):
    with pytest.raises(UsageError, match=r"gone\.json"):
        job.scenarios([saved(THREE), tmp_path / "gone.json"], Settings(qemu=str(build())))


@pytest.mark.parametrize("fields", [{"devices": ()}, {"seed": -1}, {"trace": ("vfo_*",)}])
def test_what_is_wrong_with_a_scenario_names_its_file(build, saved, fields):
    binary = build()
    (binary.parent / "trace" / "trace-events-all").write_text('vfio_load(void) "x"\n')
    wrong = saved(msgspec.structs.replace(THREE, **fields), "wrong.json")
    with pytest.raises(UsageError) as refused:
        job.scenarios([saved(msgspec.structs.replace(THREE, trace=())), wrong],
                      Settings(qemu=str(binary)))  # fmt: skip
    assert str(refused.value).startswith(f"{wrong}: three: {next(iter(fields))}")


def test_many_devices_are_refused_before_they_are_made():
    with pytest.raises(UsageError, match="--devices is 1000000000000, not 1 to 29"):
        job.applied(THREE, Settings(devices=10**12))


def test_qemu_without_trace_events_is_fine_where_nothing_is_traced(build, saved):
    binary = build()
    (binary.parent / "trace" / "trace-events-all").unlink()
    settings = Settings(qemu=str(binary))
    untraced = msgspec.structs.replace(THREE, trace=())
    assert job.scenarios([saved(untraced)], settings)
    with pytest.raises(PrerequisiteMissing, match="trace-events-all"):
        job.scenarios([saved(THREE)], settings)


# -- settings ----------------------------------------------------------------------------


def test_settings_that_were_not_given_change_nothing():
    assert job.applied(THREE, Settings()) == THREE


def test_given_settings_go_before_the_scenarios():
    found = job.applied(THREE, Settings(channels=7, size=9, seed=40))
    assert found.channels == 7
    assert found.seed == 40
    assert [device.size for device in found.devices] == [9, 9, 9]
    assert [device.seed for device in found.devices] == [40, 41, 42]


def test_fewer_devices_are_the_first_of_them():
    found = job.applied(THREE, Settings(devices=2))
    assert found.devices == THREE.devices[:2]


def test_more_devices_are_copies_of_the_last_with_states_of_their_own():
    found = job.applied(THREE, Settings(devices=5))
    assert found.devices[:3] == THREE.devices
    assert [device.size for device in found.devices[3:]] == [3 * MIB] * 2
    assert len({device.id for device in found.devices}) == 5
    assert len({device.seed for device in found.devices}) == 5


MDEV = Scenario(name="mdev", devices=(MdevDevice(id="vfio0", type="mtty-2"),))


def test_more_devices_of_the_kernel_are_of_the_same_type():
    found = job.applied(MDEV, Settings(devices=2, seed=3))
    assert [(device.id, device.type) for device in found.devices] == [
        ("vfio0", "mtty-2"),
        ("vfio1", "mtty-2"),
    ]


def test_devices_of_the_command_line_go_before_the_scenarios(build):
    settings = Settings(qemu=str(build()), kinds=(MdevDevice(id="vfio0"),), devices=3)
    (found,) = job.scenarios([], settings)
    assert [device.type for device in found.devices] == ["mtty-1"] * 3
    assert found.relay, "nobody else sees what they give"
    assert job.applied(THREE, Settings(kinds=MDEV.devices)).devices == MDEV.devices


def test_emulated_devices_of_the_command_line_need_no_relay(build):
    settings = Settings(qemu=str(build()), kinds=(EmulatedDevice(id="vfio0"),))
    (found,) = job.scenarios([], settings)
    assert not found.relay
    assert len(found.devices) == 1


def test_size_is_for_emulated_devices():
    with pytest.raises(UsageError, match="vfio0: --size is for emulated devices"):
        job.applied(MDEV, Settings(size=5))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(channels=0),
        Settings(channels=256),
        Settings(devices=-1),
        Settings(devices=0),
        Settings(devices=30),
        Settings(size=1 << 63),
        Settings(size=(1 << 40) + 1),
        Settings(seed=-1),
        Settings(seed=1 << 63),
        Settings(faults=(Drop(select=Select(channel=4)),)),
    ],
)
def test_setting_that_no_scenario_can_have_is_a_usage_error(settings):
    with pytest.raises(UsageError, match="three: "):
        job.applied(THREE, settings)


# -- builds ------------------------------------------------------------------------------


@pytest.fixture
def machines(monkeypatch):
    """All builds know these machine types."""
    known = ("pc-q35-9.2", "pc-q35-10.0", "pc-i440fx-10.0")
    probe = Probe(FACTS, known, has_log_backend=True)
    monkeypatch.setattr("harness.vm.builds.probe_now", lambda _binary: probe)


@pytest.mark.usefixtures("machines")
def test_builds_that_differ_get_the_newest_machine_that_both_know(build):
    old, new = build("10.0.3"), build("11.1.0")
    for source, destination in ((old, new), (new, old)):
        settings = Settings(qemu=str(source), qemu_dst=str(destination))
        assert job.with_builds(THREE, settings).machine == "pc-q35-10.0"
    pc = msgspec.structs.replace(THREE, machine="pc")
    assert job.with_builds(pc, settings).machine == "pc-i440fx-10.0"


def test_machine_that_was_named_is_kept(build):
    settings = Settings(qemu=str(build("10.0.3")), qemu_dst=str(build("11.1.0")))
    named = msgspec.structs.replace(THREE, machine="pc-q35-9.2")
    assert job.with_builds(named, settings).machine == "pc-q35-9.2"


def test_one_build_keeps_the_machine_alias(build):
    assert job.with_builds(THREE, Settings(qemu=str(build()))).machine == "q35"


@pytest.mark.usefixtures("machines")
def test_second_migration_goes_to_the_first_ones_destination(build):
    old, new = str(build("10.0.3")), str(build("11.1.0"))
    then = msgspec.structs.replace(THREE, name="then")
    both = msgspec.structs.replace(THREE, qemu=old, qemu_dst=new, then=(then,))
    found = job.with_builds(both, Settings())
    assert (found.qemu, found.qemu_dst) == (old, new)
    assert (found.then[0].qemu, found.then[0].qemu_dst) == (new, new)
    assert found.machine == found.then[0].machine == "pc-q35-10.0", "one guest has one machine"
    one = msgspec.structs.replace(THREE, qemu=new, then=(then,))
    found = job.with_builds(one, Settings())
    assert (found.then[0].qemu, found.then[0].qemu_dst) == (new, new), "not the machine's own build"
    own = msgspec.structs.replace(one, then=(msgspec.structs.replace(then, qemu=old),))
    found = job.with_builds(own, Settings())
    (named,) = found.then
    assert (named.qemu, named.qemu_dst) == (old, old), "a build that it names is kept"


@pytest.mark.usefixtures("machines")
def test_main_job_of_two_versions_goes_both_ways(build):
    old, new = build("10.0.3"), build("11.1.0")
    pairs = {
        each.name: (each.qemu, each.qemu_dst)
        for each in job.scenarios([], Settings(qemu=str(old), qemu_dst=str(new)))
    }
    assert pairs.pop("two-devices") == (str(old), str(new))
    for each in main_job.TURNED:
        assert pairs.pop(each.name) == (str(new), str(old))


def test_main_job_of_two_builds_of_one_version_goes_one_way(build, tmp_path, machines):
    one = build("10.0.3")
    other = shutil.copytree(one.parent, tmp_path / "other") / one.name
    names = {each.name for each in job.scenarios([], Settings(qemu=str(one), qemu_dst=str(other)))}
    assert not names & {each.name for each in main_job.TURNED}


@pytest.mark.usefixtures("machines")
def test_given_source_goes_for_the_destination_too(build):
    old, new = build("10.0.3"), build("11.1.0")
    named = msgspec.structs.replace(THREE, qemu=str(old), qemu_dst=str(old))
    assert job.with_builds(named, Settings(qemu=str(new))).qemu_dst == str(new)
    assert job.with_builds(named, Settings(qemu_dst=str(new))).qemu == str(old)


def test_faults_of_the_command_line_are_the_scenarios():
    found = (Drop(), Hold(until=Until(packets=2)))
    assert job.applied(Scenario(name="a"), Settings(faults=found)).faults == found


def test_second_migration_has_the_settings_of_the_first(build):
    binary = build("10.0.3")
    wanted = Scenario(name="a", then=(Scenario(name="b"),))
    found = job.with_builds(job.applied(wanted, Settings(size=5)), Settings(qemu=str(binary)))
    (then,) = found.then
    assert then.devices == found.devices
    assert then.qemu == str(binary)


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


def test_each_run_is_told_as_it_ends_and_the_worst_is_the_exit_status(runs, capsys):
    assert runs(valid_run(), violated_run()) == (1, [])
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["valid", "VIOLATED"]


def test_bug_of_a_rule_is_told_with_its_traceback_and_the_other_runs_are_made(
    runs, tmp_path, capsys
):
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


def test_run_that_followed_another_is_told_and_counts(runs, capsys):
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
    note = Record(1, Side.HARNESS, Kind.SESSION, "replayed", {"capture": "a/migration.capture"})
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


def test_interrupt_tells_what_was_done_and_where_the_rest_is(runs, capsys):
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


def test_baseline_stands_in_the_document(runs, tmp_path, capsys):
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


# -- saved runs --------------------------------------------------------------------------


def test_run_directory_is_found_by_any_of_its_files(tmp_path):
    path = save(valid_run(), tmp_path)
    assert job.run_dirs(path) == [path]
    assert job.run_dirs(tmp_path) == [path]
    (path / "manifest.json").unlink()
    assert job.run_dirs(tmp_path) == [path]


def test_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no run directory"):
        job.run_dirs(tmp_path)


def test_deadlock_that_is_known_of_qemu_is_told_to_be(capsys):
    path = Path(__file__).parents[2] / "data" / "violated" / "RUN" / "sync-deadlock"
    assert job.recheck([path], is_json=True, complain=print) == 2
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["outcome"] == "known deviation"
    assert "channels_ready" in run["known"]["cause"]
    name = "set-4-device-state-is-queued-during-the-final-ram-sync"
    assert (run["known"]["name"], run["known"]["repro"][-1]) == (name, name)


def test_known_deviation_that_shows_in_every_run_is_named_and_stays_violated(capsys):
    """The scenario's name says nothing of it: it is recognised by what was seen."""
    name = "ord-4-guest-writes-the-interrupt-line"
    path = Path(__file__).parents[2] / "data" / "violated" / "ORD-4" / "interrupt-line"
    assert job.recheck([path], is_json=True, complain=print) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["outcome"], run["known"], run["name"] == name) == ("violated", None, False)
    (seen,) = run["deviations"]
    assert (seen["seen_in"], seen["name"]) == ("ORD-4", name)
    assert seen["repro"] == ["vfio-multifd", "repro", name]
    assert job.recheck([path], is_json=False, complain=print) == 1
    text = capsys.readouterr().out
    assert f"    known deviation: {name}\n    cause: vfio_pci_load_config() writes only" in text
    assert f"    reproduce with: vfio-multifd repro {name}\n" in text


def test_violation_that_nobody_knows_is_not_called_known(tmp_path, capsys):
    assert job.recheck([save(violated_run(), tmp_path)], is_json=True, complain=print) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["known"] is None
    assert run["deviations"] == []


def test_bug_of_a_rule_is_a_traceback_and_loses_that_run_only(tmp_path, capsys, monkeypatch):
    """Its directory is named, and the others are judged all the same."""
    bad, fine = save(valid_run(), tmp_path, "bad"), save(valid_run(), tmp_path, "fine")

    def judge_or_fail(history):
        if history.manifest.ended_ns < 0:
            raise KeyError("typo")
        return judge(history)

    manifest = json.loads((bad / "manifest.json").read_text()) | {"ended_ns": -1}
    (bad / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(job, "judge", judge_or_fail)
    told: list[str] = []
    assert job.recheck([tmp_path], is_json=True, complain=told.append) == 3
    out, err = capsys.readouterr()
    assert "Traceback (most recent call last):" in err
    assert err.endswith("KeyError: 'typo'\n")
    assert told == [f"{bad}: KeyError('typo'): a bug of the harness"]
    lost, judged = json.loads(out)["runs"]
    assert (lost["path"], lost["outcome"]) == (str(bad), "lost")
    assert (judged["path"], judged["outcome"]) == (str(fine), "valid")


def test_damaged_history_is_one_line_and_no_bug(tmp_path, capsys):
    path = save(valid_run(), tmp_path)
    lines = (path / "history.jsonl").read_text().replace('"idx"', '"index"')
    (path / "history.jsonl").write_text(lines)
    told: list[str] = []
    assert job.recheck([path], is_json=True, complain=told.append) == 3
    assert capsys.readouterr().err == ""
    (line,) = told
    assert "missing required field `idx`" in line
    assert "\n" not in line


def test_guest_gets_the_memory_that_it_needs():
    found = job.applied(THREE, Settings(guest=True))
    assert found.guest == Guest()
    assert found.ram_mib == 192
    with_more = job.applied(found, Settings(guest=True, channels=2))
    assert (with_more.guest, with_more.ram_mib) == (found.guest, 192)
    assert Settings(guest=True).has_shape


def test_guest_beside_an_mdev_device_is_no_linux_and_needs_no_more_memory():
    settings = Settings(guest=True, kinds=(MdevDevice(id="vfio0"),))
    found = job.applied(THREE, settings)
    assert not found.has_linux
    assert found.ram_mib == THREE.ram_mib


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
    monkeypatch.setattr(job.Capture, "open", lambda _path: capture)
    monkeypatch.setattr(job, "run", lambda *_args, **_how: 0)
    settings = Settings(qemu=str(binary), faults=faults)
    with pytest.raises(UsageError, match=words):
        job.replay(Path("x"), settings, RunOptions(runs_dir=Path("runs")), complain=print)
