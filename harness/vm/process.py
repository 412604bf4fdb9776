"""Starts a process so that it cannot outlive the harness, and ends it."""

import asyncio
import contextlib
import functools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from harness.errors import LaunchError, PrerequisiteMissing
from harness.history import Body, Record, Side, private
from harness.history.process import (
    Exited,
    Launched,
    Memory,
    Resources,
    Signalled,
    Stderr,
)
from harness.supervisor.spawn import Launcher, Spawn
from harness.vm import sanitizers
from harness.vm.activity import Activity

# setpriv sets the parent-death signal before exec.  If the harness dies before that, the
# listener is gone too, and QEMU fails at its first VFIO ioctl.
GUARD = ("setpriv", "--pdeathsig", "KILL", "--")


class QemuProcess:
    """One running QEMU.  Its end is noticed at once and recorded once."""

    def __init__(
        self,
        side: Side,
        argv: Sequence[str],
        stderr_path: Path,
        record: Callable[[Record], None],
        activity: Activity,
    ) -> None:
        self.side = side
        self.argv = tuple(argv)
        self.returncode: int | None = None
        """As in ``subprocess``: exit code, or minus the signal; None while it runs."""
        self.is_end_asked = False
        """Whether the harness has asked it to end, so that its end is no finding."""
        self._stderr_path = stderr_path
        self._record = record
        self._activity = activity
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd = -1

    @property
    def pid(self) -> int:
        """Process id, valid until the process is reaped; 0 before it is started."""
        return self._popen.pid if self._popen else 0

    async def start(
        self,
        launcher: Launcher,
        pass_fds: Sequence[int],
        memory_limit_bytes: int,
        cwd: Path | None = None,
    ) -> None:
        """Start it in ``cwd`` with at most ``memory_limit_bytes`` of private memory (RLIMIT_DATA,
        or a sanitizer's own limit if that maps a shadow of the memory).

        :raise LaunchError: there is no such program, or it cannot be executed
        :raise PrerequisiteMissing: a limit of this shell would end it
        """
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if most != resource.RLIM_INFINITY:  # SIGXFSZ, when its trace gets there
            raise PrerequisiteMissing(
                f"{self.side}: files are limited to {most} bytes here, which would end QEMU: "
                "raise the limit (ulimit -f unlimited)"
            )
        if shutil.which(self.argv[0]) is None:  # setpriv would only print that and exit
            raise LaunchError(f"{self.side}: {self.argv[0]}: no such program")
        private.write(self._stderr_path, b"")
        binary = Path(shutil.which(self.argv[0]) or self.argv[0])
        built_with = sanitizers.of(binary)
        environment = sanitizers.environment(binary, memory_limit_bytes) if built_with else None
        with self._stderr_path.open("wb") as stderr:
            try:
                await self._launch(
                    functools.partial(
                        launcher,
                        Spawn(
                            argv=(*GUARD, *self.argv),
                            pass_fds=pass_fds,
                            stdout=stderr,
                            stderr=stderr,
                            cwd=cwd,
                            env=environment,
                        ),
                    )
                )
            except FileNotFoundError as error:
                raise LaunchError(f"{self.side}: setpriv not found: install util-linux") from error
            except OSError as error:
                raise LaunchError(f"{self.side}: {self.argv[0]}: {error.strerror}") from error
        self._pidfd = os.pidfd_open(self.pid)
        with contextlib.suppress(ProcessLookupError):
            if not sanitizers.has_shadow(built_with):
                resource.prlimit(self.pid, resource.RLIMIT_DATA, (memory_limit_bytes,) * 2)
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)
        self._note(Launched(argv=list(self.argv), pid=self.pid))

    async def _launch(self, launch: Callable[[], subprocess.Popen[bytes]]) -> None:
        """Call ``launch`` in a thread and wait for its end, also if cancelled meanwhile: a launch
        cannot be interrupted, and the process that it starts must be known here.
        """
        launching = asyncio.get_running_loop().run_in_executor(None, launch)
        cancelled: asyncio.CancelledError | None = None
        while not launching.done():
            try:
                await asyncio.wait({launching})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is None:
            self._popen = launching.result()
        elif launching.exception() is None:
            self._popen = launching.result()
            self.kill_now()
        if cancelled is not None:
            raise cancelled

    def _on_exit(self) -> None:
        if self._popen is None or self.returncode is not None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.returncode = self._popen.wait()
        for line in self.stderr().splitlines():
            self._note(Stderr(line))
        self._note(
            Exited(
                status=max(self.returncode, -1),
                signal=max(-self.returncode, 0),
                asked=self.is_end_asked,
            )
        )
        self._activity.notify()

    def stderr(self) -> str:
        """What it has printed on stdout and stderr."""
        return self._stderr_path.read_text(errors="backslashreplace")

    def memory(self, at: Literal["booted", "migrating", "ended"]) -> Memory | None:
        """Its memory now, in the phase ``at``; None if the process is gone."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return None
        fields = dict(line.split(":", 1) for line in status.splitlines())
        if "VmHWM" not in fields:
            return None
        hwm_kib, rss_kib = (int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS"))
        return Memory(hwm_kib=hwm_kib, rss_kib=rss_kib, at=at)

    def resources(self, at: Literal["booted", "ended"]) -> Resources | None:
        """What it holds now, in the phase ``at``; None if the process is gone."""
        folder = Path(f"/proc/{self.pid}")
        try:
            descriptors = [_kind(fd) for fd in (folder / "fd").iterdir()]
            threads = [_name(task) for task in (folder / "task").iterdir()]
        except OSError:
            return None
        held = (Counter(filter(None, each)) for each in (descriptors, threads))
        return Resources(at, *({name: each[name] for name in sorted(each)} for each in held))

    def data_fds(self) -> int | None:
        """How many data_fds of emulated devices it has open; None if the process is gone."""
        try:
            kept = [_target(fd) for fd in Path(f"/proc/{self.pid}/fd").iterdir()]
        except OSError:
            return None
        return sum(target.startswith("/memfd:data_fd") for target in kept)

    async def wait(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` for its end; return whether it has ended."""
        try:
            await self._activity.until(lambda: self.returncode, timeout_s)
        except TimeoutError:
            return False
        return True

    async def end(self, grace_s: float) -> None:
        """End it by SIGTERM, then SIGKILL; do nothing if it was never started."""
        if self._popen is None:
            return
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 30.0)):
            if self.returncode is not None:
                return
            self.signal(number)
            await self.wait(wait_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that ends it; its end is then no finding."""
        if self.returncode is None and self._popen is not None:
            self.is_end_asked = True
            self._note(Signalled(int(number)))
            self._popen.send_signal(number)

    def kill_now(self) -> None:
        """Send SIGKILL and wait for the end without an event loop.  The end is not recorded."""
        if self._popen is None or self.returncode is not None:
            return
        self._popen.kill()  # does nothing if it has ended
        self.returncode = self._popen.wait()
        if self._pidfd >= 0:
            with contextlib.suppress(RuntimeError):  # no loop runs
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)

    def _note(self, args: Body) -> None:
        self._record(Record.of(time.time_ns(), self.side, args))


def _kind(fd: Path) -> str:
    """What a descriptor refers to: ``socket``, ``anon_inode:[eventfd]``, ``file`` and so on; "" if
    it was closed meanwhile.
    """
    target = _target(fd)
    if target.startswith("/"):
        return "memfd" if target.startswith("/memfd:") else "file"
    return target if target.startswith("anon_inode") else target.split(":", maxsplit=1)[0]


def _target(fd: Path) -> str:
    """The link's target; "" if it was closed meanwhile."""
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def _name(task: Path) -> str:
    """The name of a thread; "" if it has ended meanwhile."""
    try:
        return (task / "comm").read_text().strip()
    except OSError:
        return ""
