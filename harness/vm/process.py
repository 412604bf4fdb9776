"""Starting a process so that it cannot outlive the harness, and ending it."""

import asyncio
import contextlib
import functools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from harness.errors import LaunchError, PrerequisiteMissing
from harness.history import Body, Record, Side, private
from harness.history.process import Exited, Launched, Memory, Signalled, Stderr
from harness.supervisor.spawn import Launcher, Spawn
from harness.vm import sanitizers
from harness.vm.activity import Activity

# setpriv arms the parent-death signal before exec.  Should the harness die in the
# moments before that, the listener is gone too, and QEMU fails at its first VFIO ioctl.
GUARD = ("setpriv", "--pdeathsig", "KILL", "--")


class QemuProcess:
    """One running QEMU: its end is seen at once, and recorded once."""

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
        """As ``subprocess``: exit code, or minus the signal; None while it runs."""
        self.is_end_asked = False
        """The harness has told it to end, so its end is no finding."""
        self._stderr_path = stderr_path
        self._record = record
        self._activity = activity
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd = -1

    @property
    def pid(self) -> int:
        """Process id; valid until the process was reaped."""
        return self._popen.pid if self._popen else 0

    async def start(
        self,
        launcher: Launcher,
        pass_fds: Sequence[int],
        memory_limit_bytes: int,
        cwd: Path | None = None,
    ) -> None:
        """Start it in ``cwd``, at most ``memory_limit_bytes`` of private memory (RLIMIT_DATA;
        where a sanitizer needs a shadow of the memory, by its own limit).

        :raise LaunchError: there is no such program, or nothing could be executed
        :raise PrerequisiteMissing: the system would end it for what is no fault of its own
        """
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if most != resource.RLIM_INFINITY:  # SIGXFSZ, when its trace gets there
            raise PrerequisiteMissing(
                f"{self.side}: files may have {most} bytes here, not more, and QEMU would be ended "
                "by that: raise the limit of file sizes (ulimit -f unlimited)"
            )
        if shutil.which(self.argv[0]) is None:  # setpriv would only write so, and end
            raise LaunchError(f"{self.side}: {self.argv[0]}: there is no such program")
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
                raise LaunchError(
                    f"{self.side}: setpriv is not there: install util-linux"
                ) from error
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
        """Call ``launch`` in a thread, to its end: it cannot be called back, so what it has
        started must be known here, also to a caller that is cancelled meanwhile.
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
        """What it has written to stdout and stderr."""
        return self._stderr_path.read_text(errors="backslashreplace")

    def memory(self, at: Literal["booted", "migrating", "ended"]) -> Memory | None:
        """Its memory now, in the phase ``at``; None if it is gone."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return None
        fields = dict(line.split(":", 1) for line in status.splitlines())
        if "VmHWM" not in fields:
            return None
        hwm_kib, rss_kib = (int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS"))
        return Memory(hwm_kib=hwm_kib, rss_kib=rss_kib, at=at)

    async def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, after waiting for that at most ``timeout_s``."""
        try:
            await self._activity.until(lambda: self.returncode, timeout_s)
        except TimeoutError:
            return False
        return True

    async def end(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone, at once if it was never started."""
        if self._popen is None:
            return
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 30.0)):
            if self.returncode is not None:
                return
            self.signal(number)
            await self.wait(wait_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that ends it; what follows from that is no finding."""
        if self.returncode is None and self._popen is not None:
            self.is_end_asked = True
            self._note(Signalled(int(number)))
            self._popen.send_signal(number)

    def kill_now(self) -> None:
        """SIGKILL, and wait for that without a loop, where none runs any more.  Its end is
        recorded no more.
        """
        if self._popen is None or self.returncode is not None:
            return
        self._popen.kill()  # nothing, where it has ended
        self.returncode = self._popen.wait()
        if self._pidfd >= 0:
            with contextlib.suppress(RuntimeError):  # no loop runs
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)

    def _note(self, args: Body) -> None:
        self._record(Record.of(time.time_ns(), self.side, args))
