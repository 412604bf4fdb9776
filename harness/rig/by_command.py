"""``vfio-multifd rig run``: runs a command in a rig as if it ran here."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from harness.history.rundir import RunDir
from harness.rig import rig


def run(
    command: Sequence[str],
    runs_dir: Path,
    *,
    qemu: str = "",
    writable: Sequence[Path] = (),
    deadline_s: float = 600.0,
) -> int:
    """Run ``command`` in a rig with our standard output and error; its exit status.

    It may write to ``runs_dir`` and ``writable``.  The rig keeps its console log in a directory
    of its own in ``runs_dir``.  Raises what ``rig.run`` raises.
    """
    folder = RunDir.create(runs_dir, "rig").path
    try:
        return rig.run(
            command,
            folder,
            on_stdout=passed_on(sys.stdout.buffer),
            on_stderr=passed_on(sys.stderr.buffer),
            qemu=qemu,
            writable=(runs_dir, *writable),
            deadline_s=deadline_s,
        )
    finally:
        with contextlib.suppress(OSError):  # it is not empty: evidence
            folder.rmdir()


def passed_on(file: BinaryIO) -> Callable[[bytes], None]:
    """A function that writes to ``file`` and flushes it."""

    def write(data: bytes) -> None:
        file.write(data)
        file.flush()

    return write
