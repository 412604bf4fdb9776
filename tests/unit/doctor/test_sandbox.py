"""Seccomp and a child's memory are tried, not guessed."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from harness.doctor import sandbox
from harness.doctor.check import State
from harness.errors import PrerequisiteMissing


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_notification_works_here_and_can_be_tried_again():
    for _ in range(2):
        assert sandbox.notification().state is State.OK


def test_trying_it_leaves_no_filter_on_this_thread():
    sandbox.notification()
    read_end, write_end = os.pipe()
    with pytest.raises(OSError, match="Inappropriate ioctl"):  # the filter would wait for ever
        fcntl.ioctl(read_end, 0x3B64, 0)
    os.close(read_end)
    os.close(write_end)


def test_trying_it_leaves_no_descriptor_open():
    sandbox.notification()
    before = open_descriptors()
    sandbox.notification()
    assert open_descriptors() == before


def test_container_that_forbids_it_is_reported_with_what_to_do(monkeypatch):
    def refused():
        raise PrerequisiteMissing("refused here (Operation not permitted)")

    monkeypatch.setattr("harness.supervisor.seccomp.install_filter", refused)
    check = sandbox.notification()
    assert check.state is State.MISSING
    assert "Operation not permitted" in check.found
    assert "seccomp=unconfined" in check.fix


def test_filter_that_catches_nothing_is_no_filter(monkeypatch):
    read_end, write_end = os.pipe()
    monkeypatch.setattr("harness.supervisor.seccomp.install_filter", lambda: read_end)
    monkeypatch.setattr(sandbox, "_WAIT_S", 0.1)
    check = sandbox.notification()
    os.close(write_end)
    assert check.state is State.MISSING
    assert "catches no ioctl" in check.found


def test_memory_of_a_child_can_be_read_here():
    assert sandbox.memory_of_a_child().state is State.OK


def test_memory_that_must_not_be_read_is_reported_with_what_to_do(monkeypatch):
    def refused(_self, _pid):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("harness.supervisor.memory.ProcessMemory.attach", refused)
    check = sandbox.memory_of_a_child()
    assert check.state is State.MISSING
    assert "ptrace_scope" in check.fix
