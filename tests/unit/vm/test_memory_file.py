"""A file in no folder."""

import os
import subprocess
from pathlib import Path

from harness.vm.memory_file import memory_file


def test_child_writes_by_the_path_and_we_read():
    with memory_file("x") as (path, _):
        subprocess.run(["sh", "-c", f"echo so >>{path}"], check=True)
        assert path.read_text() == "so\n"
        path.write_bytes(b"else")
        assert path.read_bytes() == b"else"


def test_child_that_gets_the_descriptor_writes_by_that():
    with memory_file("x") as (path, fd):
        subprocess.run(["sh", "-c", f"echo so >/proc/self/fd/{fd}"], pass_fds=(fd,), check=True)
        assert path.read_text() == "so\n"


def test_nothing_stays():
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with memory_file("x") as (path, _):
        assert "memfd:x" in str(Path(os.readlink(path)))  # noqa: PTH115
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
