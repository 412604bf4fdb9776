"""An eventfd of another process is signalled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.supervisor import eventfd

PROGRAM = """
import os
fd = os.eventfd(0)
print(fd, flush=True)
print(os.eventfd_read(fd), flush=True)
"""


def test_eventfd_of_a_child_is_signalled():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as child:
        number = int(child.stdout.readline())
        eventfd.signal(child.pid, number)
        assert child.stdout.readline() == "1\n"
        assert child.wait(30) == 0


def test_descriptor_that_is_not_there():
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Bad file descriptor"):
        eventfd.signal(os.getpid(), 1 << 19)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_process_that_is_gone():
    done = subprocess.Popen(["true"])
    done.wait()
    with pytest.raises(ProcessLookupError):
        eventfd.signal(done.pid, 0)
