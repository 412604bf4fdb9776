"""One QEMU of the pair, process and monitor, from its launch to its end."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

from harness.errors import LaunchError, LostVM, QmpTimeout, VMError
from harness.history import Record, Side
from harness.history.process import Hung
from harness.supervisor.spawn import Launcher
from harness.vm.activity import Activity
from harness.vm.backtrace import backtrace
from harness.vm.process import QemuProcess
from harness.vm.qmp import Monitor

LAUNCH_TIMEOUT_S = 30.0
QUIT_TIMEOUT_S = 5.0


class Vm:
    """A QEMU: ``launch`` it, use its ``monitor``, ``shutdown``.

    :ivar process: the process; None before the launch
    :ivar monitor: its monitor
    :ivar home: its working directory
    :param folder: where its standard error is written
    """

    def __init__(
        self,
        side: Side,
        folder: Path,
        record: Callable[[Record], None],
        activity: Activity,
        home: Path,
    ) -> None:
        self.side = side
        self.home = home
        self._folder = folder
        self._record = record
        self.activity = activity
        self._ours, self._theirs = socket.socketpair()
        self.monitor = Monitor(side, record, activity.notify)
        self.process: QemuProcess | None = None
        self._is_connected = False
        self.is_stuck = False
        """Whether its main loop was seen not to answer, so that it would not obey ``quit``."""

    @property
    def monitor_fd(self) -> int:
        """QEMU's end of the monitor's socket, for the command line."""
        return self._theirs.fileno()

    @property
    def is_running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None and self.process.returncode is None

    async def launch(
        self,
        argv: Sequence[str],
        launcher: Launcher,
        pass_fds: Sequence[int],
        memory_limit_bytes: int,
    ) -> None:
        """Start QEMU and negotiate with its monitor.

        :raise LaunchError: it ended first; the message has its exit status and last line
        """
        self.process = QemuProcess(
            self.side, argv, self._folder / f"{self.side}.stderr", self._record, self.activity
        )
        with self._theirs:
            # Our copy of QEMU's end must be closed, or connect would hang if QEMU dies.
            await self.process.start(
                launcher, (*pass_fds, self._theirs.fileno()), memory_limit_bytes, self.home
            )
        try:
            await self.monitor.connect(self._ours, LAUNCH_TIMEOUT_S)
        except LostVM as error:
            await self.process.wait(1.0)
            if self.process.returncode is None:
                raise LaunchError(f"{error}; it still runs") from error
            words = self.process.stderr().strip().splitlines()
            raise LaunchError(
                f"{self.side}: QEMU ended at start with {_end(self.process.returncode)}: "
                f"{words[-1] if words else 'it printed nothing'}"
            ) from error
        self._is_connected = True

    async def record_hang(
        self, waiting_for: str, attaching: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Record evidence that it did not do what was waited for.

        :param attaching: a context in which a debugger can stop all threads
        """
        if self.process is None or not self.is_running:
            return
        self.is_stuck = not await self.monitor.is_answering(oob=False)
        monitor_alive = await self.monitor.is_answering(oob=True)
        with attaching():
            trace = await backtrace(self.process.pid)
        hung = Hung(waiting_for, trace, not self.is_stuck, monitor_alive)
        self._record(Record.of(time.time_ns(), self.side, hung))

    def record_memory(self, at: Literal["booted", "migrating", "ended"]) -> None:
        """Record its memory now, in the phase ``at``, if the process exists."""
        found = self.process.memory(at) if self.process else None
        if found is not None:
            self._record(Record.of(time.time_ns(), self.side, found))

    def sample_memory(self) -> None:
        """Record its memory while it migrates."""
        self.record_memory("migrating")

    def kill(self) -> bool:
        """Send SIGKILL, as a scenario requests; return whether the process still existed."""
        if self.process is None or not self.is_running:
            return False
        self.process.signal(signal.SIGKILL)
        return True

    async def shutdown(self) -> None:
        """End it by ``quit``, then SIGTERM, then SIGKILL; when this returns it is gone."""
        if (
            self.process is not None
            and self.is_running
            and self._is_connected
            and not self.is_stuck
        ):
            self.process.is_end_asked = True
            try:
                await self.monitor.execute("quit", timeout_s=QUIT_TIMEOUT_S)
            except QmpTimeout:
                await self.record_hang("quit")
            except VMError:
                pass  # it is ending: its exit status is recorded
            else:
                await self.process.wait(QUIT_TIMEOUT_S)
        if self.process is not None:
            await self.process.end(grace_s=0.5 if self.is_stuck else 2.0)
        await self.monitor.close()
        self._ours.close()

    def abandon(self) -> None:
        """End the process without an event loop, as the last resort."""
        if self.process is not None:
            self.process.kill_now()
        for ours in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                ours.close()


def _end(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
