"""One QEMU of the pair, process and monitor, from its launch to its end."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import LaunchError, LostVM, QmpTimeout, VMError
from harness.history import Record, Side
from harness.history.process import Hung
from harness.supervisor.spawn import Launcher
from harness.vm import patience
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
            await self.monitor.connect(self._ours, LAUNCH_TIMEOUT_S, self.process.pid)
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

    async def ask(self, waiting_for: str) -> Hung | None:
        """What it answers now, in-band and out-of-band at once; None if it is gone.

        :param waiting_for: what it did not do
        """
        if not self.is_running:
            return None
        loop, monitor = await asyncio.gather(self._is_answering(False), self._is_answering(True))
        return Hung(waiting_for, "", loop, monitor)

    async def _is_answering(self, oob: bool) -> bool | None:
        """Whether it answers; None if it had no processor to do it."""
        pid = self.process.pid if self.process else 0
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self.monitor.is_answering(oob=oob))
            waiting = group.create_task(patience.is_used_up(pid))
            await asyncio.wait((asking, waiting), return_when=asyncio.FIRST_COMPLETED)
            asking.cancel()
            waiting.cancel()
        if not asking.cancelled():
            return asking.result()
        return False if waiting.result() else None

    async def record_hang(
        self,
        waiting_for: str,
        attaching: Callable[[], AbstractContextManager[None]] = nullcontext,
        asked: Hung | None = None,
        why_no_backtrace: str = "",
    ) -> None:
        """Record evidence that it did not do what was waited for.

        :param attaching: a context in which a debugger can stop all threads
        :param asked: what it answered, if it was asked already
        :param why_no_backtrace: why none is needed, if so
        """
        hung = asked or await self.ask(waiting_for)
        if hung is None or self.process is None or not self.is_running:
            return
        self.is_stuck = not hung.main_loop_alive
        if self.is_stuck:
            self.monitor.give_up()
        with nullcontext() if why_no_backtrace else attaching():
            trace = await backtrace(self.process.pid, why_no_backtrace)
        hung = msgspec.structs.replace(hung, backtrace=trace)
        self._record(Record.of(time.time_ns(), self.side, hung))

    def record_memory(self, at: Literal["booted", "migrating", "ended"]) -> None:
        """Record its memory now, in the phase ``at``, if the process exists."""
        found = self.process.memory(at) if self.process else None
        if found is not None:
            self._record(Record.of(time.time_ns(), self.side, found))

    def sample_memory(self) -> None:
        """Record its memory while it migrates."""
        self.record_memory("migrating")

    def record_resources(self, at: Literal["booted", "ended"]) -> None:
        """Record what the process holds now, in the phase ``at``, if it exists."""
        found = self.process.resources(at) if self.process else None
        if found is not None:
            self._record(Record.of(time.time_ns(), self.side, found))

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
