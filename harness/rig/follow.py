"""Runs one process to its end and reads its output as it comes."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness import interrupt
from harness.errors import LaunchError
from harness.vm.process import GUARD

_READ_BYTES = 1 << 16


class Pipe:
    """A pipe that a child writes and we read.

    :ivar path: the name by which a child that inherits ``writing`` can open it
    """

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.path = f"/proc/self/fd/{self.writing}"
        os.set_blocking(self.reading, False)

    def close_writing(self) -> None:
        """Close our writing end, so that the pipe ends when the child's end is closed."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Close both ends."""
        self.close_writing()
        os.close(self.reading)

    def arrived(self) -> Iterator[bytes]:
        """What was written and not read yet; does not wait."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.reading, _READ_BYTES):
                yield data


def follow(
    argv: Sequence[str],
    sinks: Mapping[Pipe, Callable[[bytes], object]],
    *,
    stderr: Pipe,
    deadline_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int | None:
    """Run ``argv`` and pass its output to ``sinks`` until it has ended.

    It inherits the pipes, gets ``stderr`` as its standard output and error, and is killed
    when we are, at the deadline, and when a sink or a signal's handler raises.  It has a
    session of its own, so Ctrl-C does not reach it.

    :return: its status as in ``subprocess``; None if it was killed at the deadline
    :raise LaunchError: it cannot be executed
    """
    until = time.monotonic() + deadline_s
    child: subprocess.Popen[bytes] | None = None
    try:
        with interrupt.held():
            child = subprocess.Popen(
                (*GUARD, *argv),
                stdin=subprocess.DEVNULL,
                stdout=stderr.writing,
                stderr=stderr.writing,
                pass_fds=[pipe.writing for pipe in sinks],
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        for pipe in sinks:
            pipe.close_writing()
        has_ended = _pump(child, sinks, until)
    except OSError as error:
        if child is not None:  # of a sink
            raise
        raise LaunchError(f"{GUARD[0]} {argv[0]}: {error.strerror}") from error
    finally:
        if child is not None:
            child.kill()  # does nothing if it has ended
            child.wait()
    return child.returncode if has_ended else None


def _pump(
    child: subprocess.Popen[bytes],
    sinks: Mapping[Pipe, Callable[[bytes], object]],
    until: float,
) -> bool:
    """Pass output to ``sinks`` until ``child`` has ended; False if the deadline came first."""
    poll = select.poll()
    pidfd = os.pidfd_open(child.pid)
    try:
        poll.register(pidfd, select.POLLIN)
        pipes = {pipe.reading: pipe for pipe in sinks}
        for reading in pipes:
            poll.register(reading, select.POLLIN)
        while True:
            left_s = until - time.monotonic()
            ready = dict(poll.poll(max(left_s, 0) * 1000))
            # A process's output can be read before its end is notified.
            for reading, pipe in pipes.items():
                for data in pipe.arrived():
                    sinks[pipe](data)
                if ready.get(reading) == select.POLLHUP:
                    poll.unregister(reading)
            if pidfd in ready:
                return True
            if left_s <= 0:
                return False
    finally:
        os.close(pidfd)
