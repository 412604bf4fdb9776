"""Exit statuses, one line for what is wrong, one document with --json."""

import json
from pathlib import Path

import pytest

from harness import in_rig
from harness.job import job
from harness.vm import fits
from tests.unit.called import one_line
from tests.unit.saved_runs import save, valid_run, violated_run

DATA = Path(__file__).parents[2] / "data"


def test_valid_run_exits_0(call, tmp_path):
    status, out, err = call("recheck", save(valid_run(), tmp_path))
    assert (status, err) == (0, "")
    assert "Valid: " in out


def test_violated_run_exits_1_and_says_what_where_and_how_to_repeat_it(call, tmp_path):
    path = save(violated_run(), tmp_path)
    status, out, err = call("recheck", path)
    assert (status, err) == (1, "")
    assert "ORD-1 VIOLATED in liar" in out
    assert f"vfio-multifd run {path}/scenario.json" in out


def test_folder_of_runs_is_searched_through(call, tmp_path):
    save(valid_run(), tmp_path / "a")
    save(violated_run(), tmp_path / "b" / "c")
    status, out, _ = call("recheck", tmp_path)
    assert status == 1
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["valid", "VIOLATED"]


def test_damaged_run_is_one_line_and_exit_3_and_the_others_are_still_judged(call, tmp_path):
    save(valid_run(), tmp_path, "a")
    history = save(valid_run(), tmp_path, "b") / "history.jsonl"
    history.write_bytes(history.read_bytes()[:1000])
    status, out, err = call("recheck", tmp_path)
    assert status == 3
    assert str(history) in one_line(err)
    assert "1 of 2 runs LOST" in out


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scenario.json", '"channels": 4', '"channels": 5'),
        ("history.jsonl", '"status":"completed"', '"status":"cancelled"'),
    ],
)
def test_edited_run_is_no_evidence(call, tmp_path, name, old, new):
    """Else the editor of a run, not the run, says what QEMU did."""
    path = save(valid_run(), tmp_path)
    file = path / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    other = save(valid_run(), tmp_path / "other")
    for argv in (("recheck", path), ("compare", path, other), ("compare", other, path),
                 ("export", path, "-o", tmp_path / "trace")):  # fmt: skip
        status, _, err = call(*argv)
        assert status == 3
        assert f"{file}: its digest is not the manifest's" in one_line(err)


@pytest.mark.parametrize("name", ["manifest.json", "scenario.json", "history.jsonl"])
def test_run_that_lacks_a_file_is_one_line(call, tmp_path, name):
    path = save(valid_run(), tmp_path)
    (path / name).unlink()
    status, out, err = call("recheck", path)
    assert (status, out) == (3, "")
    assert name in one_line(err)


def test_folder_without_runs_and_no_folder_are_one_line(call, tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        status, _, err = call("recheck", path)
        assert status == 4
        assert str(path) in one_line(err)


@pytest.mark.parametrize(("folder", "status"), [("good", 0), ("violated", 1)])
def test_saved_runs_of_real_qemus_are_judged_offline(call, folder, status, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert call("recheck", DATA / folder)[0] == status


def test_json_is_one_document_and_nothing_else(call, tmp_path):
    save(valid_run(), tmp_path)
    save(violated_run(), tmp_path)
    status, out, err = call("recheck", tmp_path, "--json")
    assert (status, err) == (1, "")
    found = json.loads(out)
    assert [run["outcome"] for run in found["runs"]] == ["violated", "valid"]


def test_json_is_a_document_also_where_nothing_could_be_done(call, tmp_path):
    status, out, err = call("recheck", tmp_path / "gone", "--json")
    assert status == 4
    assert json.loads(out)["error"] in one_line(err)
    assert (json.loads(out)["overall"], json.loads(out)["exit_status"]) == ("usage", 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"name": "x", "nonsense": 1}', "nonsense"),
        ('{"name": "x", "channels": "four"}', "channels"),
        ('{"name": "x", "channels": 0}', "channels is 0"),
        ('{"name": ', "not JSON: Expecting value"),
        ("[]", "not a scenario"),
    ],
)
def test_scenario_that_is_none_is_one_line(call, tmp_path, content, words):
    path = tmp_path / "scenario.json"
    path.write_text(content)
    status, out, err = call("run", path, "--runs", tmp_path / "runs")
    assert (status, out) == (4, "")
    assert str(path) in one_line(err)
    assert words in err
    assert not (tmp_path / "runs").exists()


def test_scenario_that_is_not_there_is_one_line(call, tmp_path):
    status, _, err = call("run", tmp_path / "gone.json")
    assert status == 4
    assert "gone.json" in one_line(err)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o755, "no such QEMU"),
        ("", 0o644, "not an executable"),
        ("#!/bin/sh\necho QEMU emulator version 7.2.22\n", 0o755, "QEMU 7.2.22 has no multifd"),
        ("#!/bin/sh\necho hello\n", 0o755, "is not a QEMU"),
        ("#!/bin/sh\necho QEMU emulator version 10.0.0\n", 0o755, "no trace-events-all"),
    ],
    ids=["missing", "not executable", "too old", "no QEMU", "no trace events"],
)
@pytest.mark.parametrize("options", [(), ("--size", "1M")], ids=["main job", "one scenario"])
def test_unusable_qemu_is_one_line_and_leaves_no_run(call, tmp_path, content, mode, words, options):
    binary = tmp_path / "qemu"
    if content is not None:
        binary.write_text(content)
        binary.chmod(mode)
    status, out, err = call("run", "--qemu", binary, "--runs", tmp_path / "runs", *options)
    assert (status, out) == (3, "")
    assert words in one_line(err)
    assert str(binary) in err
    assert not (tmp_path / "runs").exists()


def test_scenario_with_the_kernels_devices_runs_in_the_rig_with_the_same_options(
    call, monkeypatch, tmp_path
):
    """Where this machine has none; what is about all scenarios goes along."""
    seen = {}

    def run(wanted, runs_dir, options, *, writable):
        seen.update(wanted=wanted, runs=runs_dir, options=options, writable=writable)
        return 2

    for module, name in ((job, "_require"), (fits, "require")):
        monkeypatch.setattr(module, name, lambda *_args, **_settings: None)
    monkeypatch.setattr(in_rig, "is_needed", bool)
    monkeypatch.setattr(in_rig, "run", run)
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    report = tmp_path / "out" / "r.html"
    status, out, _ = call(
        *("run", "--device", "mdev:mtty-2", "--qemu", binary, "--runs", tmp_path / "runs"),
        *("--json", "--steps", "--no-progress", "--capture", "--report", report),
    )
    assert (status, out) == (2, "")
    assert [device.type for device in seen["wanted"][0].devices] == ["mtty-2"]
    assert set(seen["options"]) == {
        *("--json", "--steps", "--no-progress", "--capture", "--report", str(report)),
    }
    assert seen["writable"] == [report.parent]
