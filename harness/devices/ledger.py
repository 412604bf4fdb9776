"""Who has made what outside of its own process, so that a later run can undo it.

A thing in the kernel outlives a harness that is killed.  So each is written down before it
is made, with its owner, in a folder that is empty after a boot, as the kernel is.
"""

import os
from pathlib import Path

import msgspec

from harness.errors import HarnessError, PrerequisiteMissing

FOLDER = Path("/run/vfio-multifd")


class _Owner(msgspec.Struct, frozen=True):
    """A process; the number alone may be another one's by now."""

    pid: int
    start_ticks: int
    """When it started, after the boot (``starttime`` of proc_pid_stat(5))."""


class Ledger:
    """The things of one kind, in a folder of its own below ``folder``."""

    def __init__(self, kind: str, folder: Path = FOLDER) -> None:
        self._folder = folder / kind

    def claim(self, name: str) -> None:
        """Write down that this process is about to make ``name``.

        :raise PrerequisiteMissing: the folder cannot be written
        """
        owner = _Owner(os.getpid(), _start_ticks(os.getpid()))
        new = self._folder / f"{name}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(owner))
            new.replace(self._path(name))
        except OSError as error:
            raise PrerequisiteMissing(f"{self._folder}: {error.strerror}: as root") from error

    def release(self, name: str) -> None:
        """Strike out ``name``: it is no more."""
        self._path(name).unlink(missing_ok=True)

    def abandoned(self) -> list[str]:
        """Names whose owner has ended without release.

        :raise HarnessError: a record is damaged
        """
        names = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                owner = msgspec.json.decode(path.read_bytes(), type=_Owner)
            except FileNotFoundError:
                continue  # released meanwhile
            except (OSError, msgspec.DecodeError) as error:
                raise HarnessError(f"{path}: cannot be read: {error}: remove it") from error
            if not _is_alive(owner):
                names.append(path.stem)
        return names

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _is_alive(owner: _Owner) -> bool:
    try:
        return _start_ticks(owner.pid) == owner.start_ticks
    except (FileNotFoundError, ProcessLookupError):
        return False


def _start_ticks(pid: int) -> int:
    # The name, in brackets, may hold blanks and brackets itself; 22nd field of all.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
