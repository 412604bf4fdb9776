"""How a process of ours is started: plainly, or by a supervisor under its filter."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from harness.history import private


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """A process to start.  Files that it makes are private."""

    argv: Sequence[str]
    pass_fds: Sequence[int] = ()
    """Descriptors that it inherits."""
    stdin: int | IO[Any] | None = subprocess.DEVNULL
    stdout: int | IO[Any] | None = None
    stderr: int | IO[Any] | None = None
    env: Mapping[str, str] | None = None
    """None for ours."""
    cwd: Path | None = None
    """None for ours."""
    is_foreground: bool = False
    """Whether it stays in our session, with our terminal; else it gets a session of its own."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, without a filter.

        :raise OSError: the program cannot be executed
        """
        return subprocess.Popen(
            self.argv,
            cwd=self.cwd,
            umask=private.UMASK,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            env=self.env,
            pass_fds=self.pass_fds,
            start_new_session=not self.is_foreground,
        )


Launcher: TypeAlias = Callable[[Spawn], subprocess.Popen[bytes]]
"""What starts a process: ``Spawn.start``, or a supervisor.  It may raise an OSError."""
