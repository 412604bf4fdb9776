"""Checks of the machine: what it lacks is found, and its fix is named."""

import resource
import sys
from collections import namedtuple

import pytest

from harness.doctor import machine
from harness.doctor.check import State


def test_this_machine_runs_its_own_tests():
    for check in (machine.python(), machine.kernel(), machine.setpriv(), machine.memory()):
        assert check.state is State.OK, check


def test_old_python_is_missing_one(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    assert machine.python().state is State.MISSING


@pytest.mark.parametrize(
    ("release", "state"),
    [("5.8.18", State.MISSING), ("5.9.0", State.OK), ("6.1.0-13-amd64", State.OK),
     ("unheard of", State.MISSING)],
)  # fmt: skip
def test_kernel_is_as_new_as_seccomp_needs(monkeypatch, release, state):
    monkeypatch.setattr("platform.release", lambda: release)
    check = machine.kernel()
    assert check.state is state
    assert release in check.found


def test_other_systems_are_no_linux(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "FreeBSD")
    assert machine.kernel().state is State.MISSING


def test_missing_setpriv_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    check = machine.setpriv()
    assert check.state is State.MISSING
    assert "util-linux" in check.fix


def test_setpriv_that_cannot_do_it_is_of_no_use(monkeypatch, tmp_path):
    fake = tmp_path / "setpriv"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = machine.setpriv()
    assert check.state is State.MISSING
    assert "pdeathsig" in check.found


@pytest.mark.parametrize(
    ("limits", "state", "fix"),
    [
        ((1024, 4096), State.OK, ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), State.OK, ""),
        ((963, 4096), State.MISSING, "ulimit -n 1024"),
        ((512, 512), State.MISSING, "ulimit -n 1024 (as root)"),
    ],
)
def test_limit_of_open_files_leaves_room_for_the_numbers_in_use(monkeypatch, limits, state, fix):
    monkeypatch.setattr("resource.getrlimit", lambda _which: limits)
    check = machine.open_files()
    assert (check.state, check.fix) == (state, fix)


def test_full_disk_and_unwritable_folder_are_distinguished(monkeypatch, tmp_path):
    assert machine.space(tmp_path / "not" / "there" / "yet").state is State.OK
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's own
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage(9, 9, 1 << 20))
    check = machine.space(tmp_path)
    assert check.state is State.MISSING
    assert "1 MiB free" in check.found
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "is not writable" in machine.space(tmp_path).found


def test_little_memory_is_missing(monkeypatch):
    monkeypatch.setattr(machine, "MEMORY_NEEDED", 1 << 60)
    assert machine.memory().state is State.MISSING


def test_gdb_is_of_use_but_not_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    check = machine.gdb()
    assert check.state is State.OPTIONAL
    assert "gdb" in check.fix
