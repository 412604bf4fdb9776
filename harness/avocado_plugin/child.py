"""The process that a runner starts: its output as it comes, its end, and nothing after it."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

GUARD = ("setpriv", "--pdeathsig", "TERM", "--")
"""A runner that is killed takes its child along, which tears down what it has set up."""
_SILENCE_S = 0.5
_CHUNK = 1 << 16


class Child:
    """``argv`` in a session of its own, until it has ended.

    SIGTERM (avocado's time limit, its Ctrl-C) is passed on once, then SIGKILL to all of the
    group ``grace_s`` seconds later.  Processes that are left in the group when it ends
    are killed, and ``left_behind`` lists them.

    :param stdout: where its standard output goes; ``output()`` has the rest then
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        grace_s: float,
        stdout: Path | None = None,
    ) -> None:
        self._argv = (*GUARD, *argv)
        self._cwd = cwd
        self._stdout = stdout
        self._grace_s = grace_s
        self._kill_at: float | None = None
        self.returncode: int | None = None
        """As of subprocess: below 0 for a signal; None: it still runs."""
        self.terminated = False
        """Whether SIGTERM came to us."""
        self.killed = False
        """Whether it did not end in time after that."""
        self.left_behind = False

    def output(self) -> Iterator[bytes]:
        """Run it; what it writes as it comes, and b"" now and then where it is silent.

        :raise OSError: it cannot be started
        """
        waker, woken = os.pipe()
        os.set_blocking(woken, False)
        before_wakeup = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        before = signal.signal(signal.SIGTERM, self._take_sigterm)
        # A terminal's Ctrl-C reaches avocado as well, which then sends SIGTERM.
        before_int = signal.signal(signal.SIGINT, lambda _number, _frame: None)
        is_whole = self._stdout is None
        try:
            with (
                Path(self._stdout or os.devnull).open("wb") as stdout,
                subprocess.Popen(
                    self._argv,
                    cwd=self._cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if is_whole else stdout,
                    stderr=subprocess.STDOUT if is_whole else subprocess.PIPE,
                    start_new_session=True,
                ) as process,
            ):
                try:
                    yield from self._follow(process, waker)
                finally:
                    self._end(process)
        finally:
            signal.signal(signal.SIGTERM, before)
            signal.signal(signal.SIGINT, before_int)
            signal.set_wakeup_fd(before_wakeup)
            os.close(waker)
            os.close(woken)

    def _take_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        self.terminated = True

    def _follow(self, process: subprocess.Popen[bytes], waker: int) -> Iterator[bytes]:
        pipe = process.stdout or process.stderr
        assert pipe is not None
        output = pipe.fileno()
        os.set_blocking(output, False)
        pidfd = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                for fd in (output, pidfd, waker):
                    selector.register(fd, selectors.EVENT_READ)
                while True:
                    ready = {key.fd for key, _ in selector.select(self._wait_s())}
                    if waker in ready:
                        os.read(waker, _CHUNK)
                    self._pass_on(process)
                    # The end is looked at first: what is read then is all that was written.
                    if pidfd in ready:
                        yield from _read(output)
                        return
                    chunks = list(_read(output)) if output in ready else []
                    if output in ready and not chunks:
                        selector.unregister(output)  # closed, and the process lives on
                    yield from chunks or [b""]
        finally:
            os.close(pidfd)

    def _wait_s(self) -> float:
        if self._kill_at is None or self.killed:
            return _SILENCE_S
        return max(0.0, min(_SILENCE_S, self._kill_at - time.monotonic()))

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        if self.terminated and self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_s
            process.terminate()
        elif self._kill_at is not None and time.monotonic() >= self._kill_at and not self.killed:
            self.killed = True
            os.killpg(process.pid, signal.SIGKILL)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for it; where it has not ended by itself (we are thrown out), end it."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        self.returncode = process.wait()
        try:
            os.killpg(process.pid, signal.SIGKILL)
            self.left_behind = True
        except ProcessLookupError:
            pass

    def how(self) -> str:
        """How it ended, in words."""
        code = self.returncode
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"


def _read(fd: int) -> Iterator[bytes]:
    """All that is there now, in chunks; none: nothing more will come."""
    while True:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            return
        yield chunk
