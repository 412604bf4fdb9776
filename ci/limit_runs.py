#!/usr/bin/env python3
"""Limit the size of run directories for CI.

Usage: ci/limit_runs.py RUNS MIB

Removes the largest files that judging does not need (traces, captures), then complete runs, the
last first, then empty folders.  RUNS/not-kept.txt lists what was removed.
"""

import shutil
import sys
from pathlib import Path

from harness.history.rundir import HISTORY, MANIFEST, SCENARIO, VERDICT

NOT_KEPT = "not-kept.txt"
_NEEDED = (HISTORY, MANIFEST, SCENARIO, VERDICT)
_SMALL_BYTES = 4096
"""Smaller files are kept: removing them gains nothing."""


def limit(runs: Path, most_bytes: int) -> list[Path]:
    """Remove files, then folders, below ``runs`` until at most ``most_bytes`` are left.

    :return: what was removed, in that order
    """
    sizes = {path: path.lstat().st_size for path in runs.rglob("*") if not path.is_dir()}
    left = sum(sizes.values())
    gone = []
    for path, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        if left > most_bytes and path.name not in _NEEDED and size > _SMALL_BYTES:
            path.unlink()
            left -= sizes.pop(path)
            gone.append(path)
    for folder in sorted({path.parent for path in sizes}, reverse=True):
        if left > most_bytes:
            left -= sum(size for path, size in sizes.items() if path.parent == folder)
            shutil.rmtree(folder)
            gone.append(folder)
    for folder in sorted((path for path in runs.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return gone


def main(runs: Path, most_mib: int) -> None:
    """Limit ``runs``; list what was removed in a file and print one line."""
    gone = limit(runs, most_mib << 20)
    if gone:
        note = runs / NOT_KEPT
        note.write_text("".join(f"{path.relative_to(runs)}\n" for path in gone))
        print(f"limit_runs: over {most_mib} MiB: {len(gone)} files or runs removed, see {note}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
