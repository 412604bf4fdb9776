"""Standard output and standard error of a command.

When a standard stream cannot be written (closed, on a full disk), it is written no more, and
the command goes on, so that run directories are not lost with the output.  When the reader of
a pipe has gone, the program ends as by SIGPIPE.
"""

import contextlib
import io
import os
import signal
import sys
from typing import Any, TextIO

from harness import PROGRAM, interrupt


class _Stream(io.FileIO):
    """A standard stream that keeps its first failure, and drops what is written after it."""

    def __init__(self, number: int, *, has_reader: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None
        self._has_reader = has_reader

    def write(self, data: Any, /) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
                if self._has_reader and isinstance(error, BrokenPipeError):
                    interrupt.end(signal.SIGPIPE)
        return memoryview(data).nbytes


_streams: dict[int, _Stream] = {}


def take_over() -> None:
    """Replace the program's standard streams; one that is closed cannot be written."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as we are
    sys.stdout = _text(sys.stdout, 1, has_reader=True)
    sys.stderr = _text(sys.stderr, 2, has_reader=False)


def _text(before: TextIO | None, number: int, *, has_reader: bool) -> TextIO:
    _streams[number] = _Stream(number, has_reader=has_reader)
    return io.TextIOWrapper(
        io.BufferedWriter(_streams[number]),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
    )


def failure() -> OSError | None:
    """Why standard output could not be written; None if it could."""
    return _streams[1].failure if 1 in _streams else None


def say(line: str) -> None:
    """Print one line on standard output, flushed at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(words: str) -> None:
    """Print one line on standard error, if that can be written."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{PROGRAM}: error: {' '.join(words.split())}\n")
        sys.stderr.flush()
