"""A **signal** ends the program: one is enough, in every phase, within a bounded time.

The first SIGINT, SIGTERM or SIGHUP makes the main thread stop its work and clean up; further
ones have no effect.  How it leaves depends on the phase:

======================================  ==================================================
imports, before anything was begun      the process ends at once: an exception there could
                                        be swallowed, or break a library that is half loaded
inside :func:`run` (an asyncio loop)    the main task is cancelled
inside :func:`held`                     as soon as that block ends
anywhere else                           KeyboardInterrupt
======================================  ==================================================

If the clean-up takes longer than ``LIMIT_S``, or up to ``BUSY`` times that on a machine that is
busy, a thread kills all children and ends the process.  Exit statuses are those of a shell: 128
plus the signal's number.

This module is imported before everything else, so it imports next to nothing.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType
    from typing import Any, TypeVar

    T = TypeVar("T")

LIMIT_S = 1.5
"""Time limit of a clean-up; the rest of two seconds is for the end by force."""

BUSY = 8
"""How many times ``LIMIT_S`` a clean-up may take on a busy machine."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_KILL_S = 0.3
_AGAIN_S = 0.001  # what swallows an exception must be left first; else it is swallowed once more
_LOAD = "/proc/loadavg"


class _State:
    """The state of this process; only the main thread changes it."""

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, or 0."""
        self.asked = 0  # what ``end`` was called with
        self.has_begun = False
        self.is_silent = False
        self.held = 0
        self.is_pending = False  # came while it was held
        self.cancel: Callable[[], object] | None = None
        self.has_ended = _thread.allocate_lock()
        self.before: dict[signal.Signals, Any] = {}
        self.hook: Callable[[sys.UnraisableHookArgs], Any] = sys.unraisablehook
        self.is_again = False  # its exception was swallowed, and is to be raised again


_state = _State()


# -- for the program ---------------------------------------------------------------------


def install(*, is_silent: bool = False) -> None:
    """Take the signals from now on.

    :param is_silent: print nothing: this is a process of a program that does

    A shell that starts us in the background has SIGINT ignored, and would leave it so: it is
    taken all the same.  SIGHUP stays ignored where it is (nohup).
    """
    global _state  # noqa: PLW0603 - there is one process
    _state = _State()
    _state.is_silent = is_silent
    _state.has_ended.acquire()
    for number in SIGNALS:
        before = signal.getsignal(number)
        if number is signal.SIGHUP and before is signal.SIG_IGN:
            continue
        _state.before[number] = signal.signal(number, _on_signal)
    _state.hook, sys.unraisablehook = sys.unraisablehook, _on_unraisable


def uninstall(*, is_over: bool) -> None:
    """Stop taking signals: the program has ended, or has cleaned up.

    :param is_over: the process ends now, so signals are ignored; else they are as before
    """
    for number, before in _state.before.items():
        signal.signal(number, signal.SIG_IGN if is_over else before)
    sys.unraisablehook = _state.hook
    if _state.has_ended.locked():
        _state.has_ended.release()


def came() -> int:
    """The number of the signal that ends the program, or 0."""
    return _state.number


def status() -> int:
    """The exit status of a program that a signal ended."""
    return 128 + (_state.number or signal.SIGINT)


def words() -> str:
    """The signal in a word; empty for SIGPIPE, which is not reported."""
    return WORDS.get(signal.Signals(_state.number or signal.SIGINT), "")


def leave() -> None:
    """End the process and its children here, after a signal and its clean-up."""
    _kill_children()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(status())


# -- for what runs -----------------------------------------------------------------------


def begin() -> None:
    """Something was begun that must be cleaned up: a signal during an import no longer ends the
    process at once.
    """
    _state.has_begun = True


def end(number: int) -> None:
    """Act as if the signal ``number`` had come; from any thread."""
    _state.asked = number
    _thread.interrupt_main(signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """Defer signals to the end of this block, so that what it starts can be cleaned up.

    :raise KeyboardInterrupt: at the end of the block, if a signal came in it
    """
    if not _is_main_thread():
        yield
        return
    _state.has_begun = True
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
        if _state.is_pending and not _state.held:
            _act()


@contextmanager
def at_once() -> Iterator[None]:
    """For a long block in the main task of :func:`run` that does not await and has nothing to
    clean up: a signal raises KeyboardInterrupt in it.
    """
    if not _is_main_thread():
        yield
        return
    held, cancel = _state.held, _state.cancel
    _state.held, _state.cancel = 0, None
    try:
        if _state.number:  # the cancellation that it led to comes only at the next await
            raise KeyboardInterrupt
        yield
    finally:
        _state.held, _state.cancel = held, cancel


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run(main)``; a signal cancels its main task, once.

    :raise KeyboardInterrupt: a signal came, and all is cleaned up
    """
    import asyncio  # noqa: PLC0415 - see above

    if not (_state.before and _is_main_thread()):
        return asyncio.run(main)

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        _state.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            if _state.is_pending:
                main.close()
                raise asyncio.CancelledError
            return await main
        finally:
            _state.cancel = None

    with held():
        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            if not _state.number:
                raise
            _state.is_pending = False
            raise KeyboardInterrupt from None


def is_busy() -> bool:
    """Whether more than twice as many threads want to run now as there are processors."""
    try:
        with open(_LOAD, "rb") as file:  # noqa: PTH123
            running = int(file.read().split()[3].split(b"/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running > 2 * len(os.sched_getaffinity(0))


# -- inside ------------------------------------------------------------------------------


def _is_main_thread() -> bool:
    """As ``threading.current_thread() is threading.main_thread()``, which is imported late."""
    return _thread.get_ident() == _MAIN_THREAD


_MAIN_THREAD = _thread.get_ident()  # the first import is the program's, or a test run's


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _state.is_again:
        _state.is_again = False
        _act()
        return
    if _state.number:
        return
    _state.number = _state.asked or number
    if not _state.has_begun and _is_importing(frame):
        _say(words())
        os._exit(status())
    _thread.start_new_thread(_last_resort, (_state,))
    _act()


def _on_unraisable(swallowed: sys.UnraisableHookArgs) -> None:
    """An exception was raised where Python swallows it: in a finalizer or a weak reference's
    callback, which run anywhere.  The signal's own comes again, right after that.
    """
    if swallowed.exc_type is KeyboardInterrupt and _state.number:
        _thread.start_new_thread(_act_again, (_state,))
    else:
        _state.hook(swallowed)


def _act_again(state: _State) -> None:
    if state.has_ended.acquire(timeout=_AGAIN_S):
        state.has_ended.release()
        return
    state.is_again = True
    _thread.interrupt_main(signal.SIGINT)


def _act() -> None:
    _state.is_pending = False
    if _state.cancel is not None:
        _state.cancel()
    elif _state.held:
        _state.is_pending = True
    else:
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename in _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _last_resort(state: _State) -> None:
    """Wait for the end of the clean-up; in a thread of its own."""
    limit_s = 0.0
    while limit_s < BUSY * LIMIT_S and (not limit_s or is_busy()):
        limit_s += LIMIT_S
        if state.has_ended.acquire(timeout=LIMIT_S):
            state.has_ended.release()
            return
    _say(f"{words() or 'the reader is gone'}; the clean-up took longer than {limit_s:g} s")
    _kill_children()
    os._exit(status())


def _kill_children() -> None:
    """Kill all our children, and wait until they are gone."""
    import select  # noqa: PLC0415
    import time  # noqa: PLC0415

    until = time.monotonic() + _KILL_S
    for child in _children():
        try:
            gone = os.pidfd_open(child)
            try:
                signal.pidfd_send_signal(gone, signal.SIGKILL)
                poll = select.poll()
                poll.register(gone, select.POLLIN)
                if poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    os.waitpid(child, 0)
            finally:
                os.close(gone)
        except OSError:
            continue  # it is gone, and the main thread has noticed


def _children() -> list[int]:
    """Process ids of our children (proc_tid_children(5)); none if the kernel does not list them."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208
            with open(f"/proc/self/task/{task}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        return found
    return found


def _say(text: str) -> None:
    """Write one line to standard error, without a buffer that a thread may have locked."""
    if text and not _state.is_silent:
        try:
            os.write(2, f"vfio-multifd: error: {text}\n".encode())
        except OSError:
            return
