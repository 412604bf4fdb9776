"""Files without a name in the file system, so that none is left behind."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def memory_file(name: str) -> Iterator[tuple[Path, int]]:
    """Make an empty file; gives its path, which child processes may open too, and its descriptor,
    which they inherit only if it is passed on.

    :param name: its name in /proc
    """
    fd = os.memfd_create(name)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}"), fd
    finally:
        os.close(fd)
