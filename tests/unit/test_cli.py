"""The command line: exit statuses, one line for what is wrong, one document with --json."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli, job
from harness.doctor import examination
from harness.errors import VMError
from tests.unit.saved_runs import save, valid_run, violated_run

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def call(capsys):
    """Calls the command line: (exit status, standard output, standard error)."""

    def call(*argv) -> tuple[int, str, str]:
        try:
            status = cli.main([str(word) for word in argv])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("vfio-multifd: error: ")
    return line


# -- recheck -----------------------------------------------------------------------------


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
        assert status == 3
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
    assert status == 3
    assert json.loads(out)["error"] in one_line(err)


# -- run: bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"name": "x", "nonsense": 1}', "nonsense"),
        ('{"name": "x", "channels": "four"}', "channels"),
        ('{"name": "x", "channels": 0}', "channels is 0"),
        ('{"name": ', "truncated"),
        ("[]", "not a scenario"),
    ],
)
def test_scenario_that_is_none_is_one_line(call, tmp_path, content, words):
    path = tmp_path / "scenario.json"
    path.write_text(content)
    status, out, err = call("run", path, "--runs", tmp_path / "runs")
    assert (status, out) == (3, "")
    assert str(path) in one_line(err)
    assert words in err
    assert not (tmp_path / "runs").exists()


def test_scenario_that_is_not_there_is_one_line(call, tmp_path):
    status, _, err = call("run", tmp_path / "gone.json")
    assert status == 3
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


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("frob",),
        ("run", "--size", "5X"),
        ("run", "--channels", "many"),
        ("recheck",),
        ("serve", "--scenario", "x", "--side", "middle"),
        ("serve", "--side", "source"),
    ],
)
def test_wrong_command_line_is_one_line_and_exit_3(call, argv):
    status, out, err = call(*argv)
    assert (status, out) == (3, "")
    assert "--help" in one_line(err)


@pytest.mark.parametrize("command", ["run", "recheck", "doctor", "serve", "qmp"])
def test_every_command_has_help(call, command):
    status, out, _ = call(command, "--help")
    assert status == 0
    assert f"vfio-multifd {command}" in out


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("16MiB", 16 << 20), ("1g", 1 << 30),
     ("2 K", 2048), ("3B", 3)],
)  # fmt: skip
def test_size_is_bytes_with_a_unit(call, monkeypatch, text, size):
    seen = {}

    def remember(_paths, settings, _trace_events):
        seen["size"] = settings.size
        raise VMError("enough")

    monkeypatch.setattr(job, "scenarios", remember)
    assert call("run", "--size", text)[0] == 3
    assert seen["size"] == size


# -- what goes wrong inside --------------------------------------------------------------


@pytest.fixture
def raises(monkeypatch):
    def put(error: BaseException) -> None:
        def fail(*_args: object, **_fields: object) -> int:
            raise error

        monkeypatch.setattr(job, "recheck", fail)

    return put


def test_harness_error_is_one_line_whatever_it_holds(call, raises):
    raises(VMError("two\nlines"))
    status, _, err = call("recheck", "x")
    assert status == 3
    assert one_line(err).endswith("two lines")


def test_bug_keeps_its_traceback_and_exits_3(call, raises):
    raises(ZeroDivisionError("a bug"))
    status, _, err = call("recheck", "x")
    assert status == 3
    assert "Traceback" in err
    assert "ZeroDivisionError: a bug" in err


def test_interrupt_exits_130(call, raises):
    raises(KeyboardInterrupt())
    status, _, err = call("recheck", "x")
    assert status == 130
    assert "interrupted" in one_line(err)


def test_reader_that_has_enough_is_no_verdict(tmp_path):
    """`vfio-multifd ... | head`: neither a traceback nor the status of a finding."""
    path = save(valid_run(), tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "recheck", str(path)],
            stdout=out, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_serve_needs_a_program(call, tmp_path):
    status, _, err = call("serve", "--scenario", tmp_path, "--side", "source", "--")
    assert status == 3
    assert "@devices@" in one_line(err)


def test_doctor_is_given_all_qemus(call, monkeypatch):
    seen = []

    def remember(qemus, runs_dir, *, is_json):
        seen.append((qemus, runs_dir, is_json))
        return 0

    monkeypatch.setattr(examination, "report", remember)
    assert call("doctor", "--qemu", "a", "--qemu", "b", "--json")[0] == 0
    assert seen == [(["a", "b"], Path("runs"), True)]
