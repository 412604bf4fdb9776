"""The command line: usage, and what goes wrong inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import commands
from harness.cli import COMMANDS
from harness.errors import VMError
from harness.job import saved
from tests.unit.called import one_line
from tests.unit.saved_runs import save, valid_run


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
def test_wrong_command_line_is_one_line_and_exit_4(call, argv):
    status, out, err = call(*argv)
    assert (status, out) == (4, "")
    assert "--help" in one_line(err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call, command):
    status, out, _ = call(command, "--help")
    assert status == 0
    assert f"usage: vfio-multifd {command}" in out
    assert f"\n    {command}" in call("--help")[1]


def test_each_command_is_a_file_and_each_file_a_command_or_shared():
    folder = Path(commands.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files - set(COMMANDS) == {"arguments", "device_argument", "output", "program"}
    assert set(COMMANDS) <= files


@pytest.mark.parametrize("argv", [("run", "--chan=4"), ("qemu", "list", "--js"), ("--vers",)])
def test_options_are_not_abbreviated(call, argv):
    status, out, err = call(*argv)
    assert (status, out) == (4, "")
    assert "--help" in one_line(err)


HEAVY = {"asyncio", "cryptography", "jinja2", "junitparser", "msgspec", "qemu", "rich", "xxhash"}


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        (["--help"], set()),
        (["show", "--help"], {"msgspec", "xxhash"}),
        (["compare", "--help"], {"msgspec", "xxhash"}),
        (["recheck", "--help"], {"msgspec", "rich", "xxhash"}),
        (["relay", "--help"], {"msgspec", "xxhash"}),
        (["run", "--help"], HEAVY - {"cryptography", "jinja2", "junitparser", "rich"}),
    ],
)
def test_command_imports_its_own_module_and_the_libraries_that_it_needs(argv, needed):
    """Else its help would not be there in a tenth of a second."""
    program = (
        "import sys\n"
        "from harness import cli\n"
        f"cli.main({argv})\n"
        "print(*sorted(name for name in sys.modules if name.startswith('harness.commands.')))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    *_, ours, all_of_them = done.stdout.splitlines()
    commands_imported = {name.rpartition(".")[2] for name in ours.split()} & set(COMMANDS)
    assert commands_imported == set(COMMANDS) & {argv[0]}
    assert HEAVY & set(all_of_them.split()) == needed


@pytest.fixture
def raises(monkeypatch):
    def put(error: BaseException) -> None:
        def fail(*_args: object, **_fields: object) -> int:
            raise error

        monkeypatch.setattr(saved, "saved", fail)

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
    """`vfio-multifd ... | head`: quiet, and the status of a program that SIGPIPE ended."""
    path = save(valid_run(), tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "recheck", str(path)],
            stdout=out, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")
