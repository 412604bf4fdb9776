"""Scenarios are looked at without a migration: a line for each, and what could not be asked."""

from typing import Any

import pytest

from harness.history.rundir import SCENARIO
from harness.job import job
from harness.scenario import EmulatedDevice, Scenario, to_json
from harness.vm import builds, fits
from harness.vm.builds import Probe
from tests.unit.check.histories import FACTS
from tests.unit.saved_runs import save, valid_run


@pytest.fixture
def qemu(tmp_path, monkeypatch):
    """Something that has machine types, trace events and QMP events; starting it fails."""
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "trace-events-all").write_text(
        'vfio_load(void) "x"\nmultifd_send(void) "x"\n'
    )
    binary = tmp_path / builds.BINARY
    binary.write_text("#!/bin/sh\n[ $# = 2 ] && printf 'Supported machines are:\\nq35  a\\n'\n")
    binary.chmod(0o755)
    schema: list[dict[str, Any]] = [{"name": "NEW", "meta-type": "event", "arg-type": "0"},
              {"name": "0", "meta-type": "object", "members": []}]  # fmt: skip
    probe = Probe(FACTS, (), has_log_backend=True, schema=schema)
    monkeypatch.setattr(builds, "probe_now", lambda _binary: probe)
    return binary


@pytest.fixture
def file(tmp_path):
    def write(text: str | bytes, name: str = "a.json"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    def fail(*_args: object, **_fields: object) -> None:
        raise AssertionError("nothing may be run")

    monkeypatch.setattr(job, "run", fail)


def test_right_scenario_is_ok(call, qemu, file):
    path = file(to_json(Scenario(name="x")))
    assert call("check", path, "--qemu", qemu) == (0, f"{path}: ok\n", "")


def test_scenario_that_will_not_be_judged_is_ok_and_why_is_said(call, qemu, file, monkeypatch):
    monkeypatch.setattr(fits, "problems", lambda *_: [])
    path = file(to_json(Scenario(name="x", qemu_args=("-device", "pvpanic-pci"))))
    why = "ok, but a run will be UNKNOWN: the model does not know argument -device pvpanic-pci"
    assert call("check", path, "--qemu", qemu) == (0, f"{path}: {why}\n", "")


def test_run_directory_stands_for_its_scenario(call, qemu, tmp_path):
    path = save(valid_run(), tmp_path)
    (path / SCENARIO).write_bytes(to_json(Scenario(name="x")))
    assert call("check", path, "--qemu", qemu) == (0, f"{path}: ok\n", "")


def test_each_scenario_has_a_line_and_the_worst_is_the_status(call, qemu, file):
    good, bad = file(to_json(Scenario(name="x"))), file('{"name": "x", "seeed": 1}', "b.json")
    status, out, err = call("check", bad, good, "--qemu", qemu)
    assert status == 4
    assert out.splitlines() == [
        f"{bad}: not a scenario: unknown field seeed; did you mean seed?",
        f"{good}: ok",
    ]
    assert not err


def test_all_that_is_wrong_is_said_that_of_the_build_too(call, qemu, file):
    text = '{"name": "x", "machine": "q36", "devices": [], "trace": ["vfo_*"], "actions": [{"action": "kill", "target": "source", "when": {"name": "OLD"}}]}'  # noqa: E501
    path = file(text)
    status, out, _ = call("check", path, "--qemu", qemu)
    assert status == 4
    (line,) = out.splitlines()
    for words in ("devices has 0", "machine is 'q36'", "trace[0] is 'vfo_*'", "name is 'OLD'"):
        assert words in line


def test_what_only_the_build_knows_is_said_not_to_be_checked_without_one(call, file, tmp_path):
    good, bad = file(to_json(Scenario(name="x"))), file('{"name": "x", "seed": -1}', "b.json")
    status, out, _ = call("check", good, bad, "--qemu", tmp_path / "gone")
    assert status == 4
    lines = out.splitlines()
    assert lines[0].startswith(f"{good}: ok; what depends on the build was not checked: ")
    assert lines[1].startswith(f"{bad}: seed is -1, not 0 to ")
    assert "was not checked: " in lines[1]
    assert call("check", good, "--qemu", tmp_path / "gone")[0] == 0


def test_builds_of_the_scenario_are_asked_where_none_is_given(call, qemu, file):
    path = file(to_json(Scenario(name="x", qemu=str(qemu), machine="q36")))
    status, out, _ = call("check", path)
    assert status == 4
    assert "machine is 'q36'" in out


@pytest.mark.parametrize("text", ["{", "\xff", "[]"])
def test_file_that_is_no_scenario_is_one_line(call, file, text):
    path = file(text.encode("latin-1"))
    status, out, _ = call("check", path)
    assert status == 4
    assert out.startswith(f"{path}: not a scenario: ")
    assert len(out.splitlines()) == 1


def test_file_that_is_not_there_is_one_line(call, tmp_path):
    status, out, _ = call("check", tmp_path / "gone.json")
    assert status == 4
    assert out == f"{tmp_path}/gone.json: cannot read the scenario: No such file or directory\n"


def test_file_without_an_end_is_one_line(call):
    status, out, _ = call("check", "/dev/zero")
    assert status == 4
    assert out == "/dev/zero: not a scenario: it is longer than 16 MiB\n"


def test_name_that_is_too_long_keeps_no_other_from_being_checked(call, qemu, file):
    right, long = file(to_json(Scenario(name="x"))), "x" * 5000
    status, out, _ = call("check", long, right, "--qemu", qemu)
    assert status == 4
    assert out == f"{long}: File name too long\n{right}: ok\n"


def test_folder_without_a_scenario_is_one_line(call, tmp_path):
    status, out, _ = call("check", tmp_path)
    assert status == 4
    why = "cannot read the scenario: No such file or directory"
    assert out == f"{tmp_path}: {tmp_path}/scenario.json: {why}\n"


def test_both_builds_are_asked(call, qemu, file, monkeypatch):
    """Of two builds the machine is the newest that both know, so its name is not the alias."""
    seen = []

    def remember(wanted, trace_events):
        seen.append((wanted.qemu, wanted.qemu_dst, trace_events))
        return iter(())

    monkeypatch.setattr(fits, "problems", remember)
    monkeypatch.setattr(builds, "version_of", lambda _binary: (10, 0, 0))
    path = file(
        to_json(Scenario(name="x", machine="pc-q35-10.0", devices=(EmulatedDevice(id="a"),)))
    )
    other = qemu.with_name("other")
    other.write_bytes(qemu.read_bytes())
    other.chmod(0o755)
    options = ("--qemu", qemu, "--qemu-dst", other, "--trace-events", "there")
    assert call("check", path, *options)[0] == 0
    assert seen == [(str(qemu), str(other), "there")]
