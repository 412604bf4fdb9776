"""Files that are in no folder, so that nothing of them can stay behind."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def memory_file(name: str) -> Iterator[tuple[Path, int]]:
    """An empty file: its path, which our children may open too while we live, and its
    descriptor, which they do not inherit unless it is passed on.

    :param name: what /proc shows of it
    """
    fd = os.memfd_create(name)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}"), fd
    finally:
        os.close(fd)
