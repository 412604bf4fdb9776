"""Folders and files that only their owner can read, whatever the user's umask is.

A run holds a guest's RAM and registers and the keys of its TLS connections.
"""

import os
from pathlib import Path

UMASK = 0o077
"""Of each QEMU that we start, so that its files and sockets are private, too."""
_FOLDER, _FILE = 0o700, 0o600


def opener(path: str, flags: int) -> int:
    """For ``open()``: a new file is private; an existing one keeps its mode."""
    return os.open(path, flags, _FILE)


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to the file ``path``.

    :raise OSError: it cannot be written
    """
    with open(path, "wb", opener=opener) as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Make ``path``.

    :raise FileExistsError: it is there
    :raise OSError: it cannot be made
    """
    path.mkdir(_FOLDER)


def make_folders(path: Path) -> None:
    """Make ``path`` and the missing folders above it; existing ones are the user's and keep
    their modes.

    :raise OSError: one cannot be made, or is a file
    """
    if not path.is_dir():
        if not path.parent.exists():
            make_folders(path.parent)
        path.mkdir(_FOLDER, exist_ok=True)
