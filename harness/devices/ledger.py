"""A record of what a run has changed in the kernel, so that a later run can undo it.

A device that was made or bound outlives a harness that is killed.  So each is written down
before it is made, with its owner, in a directory that is empty after a boot, as the kernel is.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from harness.errors import HarnessError, PrerequisiteMissing

FOLDER = Path("/run/vfio-multifd")


class _Entry(msgspec.Struct, frozen=True):
    """A process and its note.  The pid alone may belong to another process by now."""

    pid: int
    start_ticks: int
    """When it started, after the boot (``starttime`` of proc_pid_stat(5))."""
    note: dict[str, str] = {}


class Ledger:
    """The devices of one kind, in a directory of its own below ``folder``."""

    def __init__(self, kind: str, folder: Path = FOLDER) -> None:
        self._folder = folder / kind

    def claim(self, name: str, note: Mapping[str, str] | None = None) -> None:
        """Record that this process is about to make or change ``name``.

        :param note: what is needed to undo it
        :raise PrerequisiteMissing: another process has it, or the folder cannot be written
        """
        entry = _Entry(os.getpid(), _start_ticks(os.getpid()), dict(note or {}))
        new = self._folder / f"{name}.{entry.pid}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(entry))
            try:
                os.link(new, self._path(name))  # unlike a rename, it replaces nothing
            finally:
                new.unlink()
        except FileExistsError as error:
            raise PrerequisiteMissing(
                f"{name} is in use by another run: {self._path(name)}"
            ) from error
        except OSError as error:
            raise PrerequisiteMissing(f"{self._folder}: {error.strerror}: run as root") from error

    def release(self, name: str) -> None:
        """Remove the record of ``name``, which is gone."""
        self._path(name).unlink(missing_ok=True)

    def abandoned(self) -> list[str]:
        """Names whose owner has ended without releasing them.

        :raise HarnessError: a record is damaged
        """
        names = (path.stem for path in sorted(self._folder.glob("*.json")))
        return [
            name
            for name in names
            if (entry := self._entry(name)) is not None and not _is_alive(entry)
        ]

    def note(self, name: str) -> dict[str, str]:
        """The note about ``name``; empty if there is none, or it was released.

        :raise HarnessError: the record is damaged
        """
        entry = self._entry(name)
        return entry.note if entry is not None else {}

    @property
    def is_writable(self) -> bool:
        """Whether this process may undo what other runs have left."""
        return os.access(self._folder, os.W_OK)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """In this block no other process undoes anything; the directory must exist."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _entry(self, name: str) -> _Entry | None:
        """None if it was released meanwhile."""
        path = self._path(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Entry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise HarnessError(f"{path}: cannot be read: {error}: remove it") from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _is_alive(owner: _Entry) -> bool:
    try:
        return _start_ticks(owner.pid) == owner.start_ticks
    except (FileNotFoundError, ProcessLookupError):
        return False


def _start_ticks(pid: int) -> int:
    # Field 22; the name in brackets may itself contain spaces and brackets.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
