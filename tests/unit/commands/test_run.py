"""``run``: scenarios and settings that cannot be used, and those that run in the rig."""

import pytest

from harness.job import settings
from harness.rig import scenarios
from harness.vm import fits
from tests.unit.called import one_line


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
        ("#!/bin/sh\necho hello\n", 0o755, "not a QEMU"),
        ("#!/bin/sh\necho QEMU emulator version 10.0.0\n", 0o755, "trace-events-all not found"),
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

    for module, name in ((settings, "require"), (fits, "require")):
        monkeypatch.setattr(module, name, lambda *_args, **_settings: None)
    monkeypatch.setattr(scenarios, "is_needed", bool)
    monkeypatch.setattr(scenarios, "run", run)
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
