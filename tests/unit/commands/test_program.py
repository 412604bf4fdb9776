"""What the command line says of errors, and with which exit status."""

import json

import pytest

from harness.errors import HarnessError, HistoryError, PrerequisiteMissing, UsageError, VMError
from harness.job import saved
from tests.unit.called import one_line


@pytest.fixture
def raises(monkeypatch):
    def put(error: BaseException) -> None:
        def fail(*_args: object, **_fields: object) -> int:
            raise error

        monkeypatch.setattr(saved, "saved", fail)

    return put


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HarnessError("x"), 3),
        (PrerequisiteMissing("x"), 3),
        (VMError("x"), 3),
        (HistoryError("x"), 3),
        (UsageError("x"), 4),
    ],
)
def test_error_has_the_exit_status_of_its_kind(call, raises, error, status):
    raises(error)
    assert call("recheck", "x")[0] == status
    found = json.loads(call("recheck", "x", "--json")[1])
    assert found["exit_status"] == status
    assert found["overall"] == {3: "lost", 4: "usage"}[status]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), 4, "/a/b: Permission denied"),
        (IsADirectoryError(21, "Is a directory", "/a"), 4, "/a: Is a directory"),
        (OSError(28, "No space left on device", "/a"), 3, "/a: No space left on device: free"),
        (OSError(27, "File too large"), 3, "File too large: raise the limit of file sizes"),
        (OSError(13, "Permission denied"), 3, "Permission denied"),
        (MemoryError(), 3, "Cannot allocate memory: ask for smaller sizes"),
        (OverflowError("int too big to convert"), 4, "a number is too large for the system"),
    ],
)
def test_what_the_system_refuses_is_one_line_without_the_name_of_an_exception(
    call, raises, error, status, words
):
    raises(error)
    found, _, err = call("recheck", "x")
    assert found == status
    assert words in one_line(err)
    assert "Error" not in err


def test_bug_is_told_in_full(call, raises):
    raises(KeyError("typo"))
    status, _, err = call("recheck", "x")
    assert status == 3
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("recheck", "x", "--nosuch"), "vfio-multifd recheck"),
        (("qemu", "list", "--nosuch"), "vfio-multifd qemu list"),
    ],
)
def test_unknown_option_names_the_command_whose_help_lists_the_known_ones(call, words, command):
    status, _, err = call(*words)
    assert status == 4
    assert one_line(err).endswith(f"unrecognized arguments: --nosuch (see {command} --help)")
