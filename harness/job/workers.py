"""**Workers**: processes that make the runs of a job, each one run at a time.

The runs that go on at the same time do not share an interpreter: what one computes would delay what
another answers.  Workers are forked, so that they have all modules at once.

A worker ends like the program, by a signal and its clean-up (``interrupt``), and dies with the
program.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

from harness import interrupt

T = TypeVar("T")
R = TypeVar("R")
Step = Callable[[str], None]
"""Called with the name of each step of a run."""

_PR_SET_PDEATHSIG = 1
_CLEAN_UP_S = interrupt.BUSY * interrupt.LIMIT_S + 0.5  # a worker takes no longer, unless it hangs


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A run has ended with ``result``."""

    result: R


@dataclass(frozen=True, slots=True)
class Gone:
    """The process that made a run has ended, as ``how`` says."""

    how: str


@dataclass(eq=False, slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    number: int | None = None
    """Of the run that it makes; None if it is idle."""

    def end(self) -> None:
        """End it, and all that it started."""
        self.process.terminate()
        self.process.join(_CLEAN_UP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class Workers(Generic[T, R]):
    """Processes that call ``work``; they exist inside ``with``.

    Enter it before other threads exist, and with signals deferred (``interrupt.held``).
    """

    def __init__(self, count: int, work: Callable[[T, Step], R]) -> None:
        self._count = count
        self._work = work
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._add()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(list(self._workers))

    @property
    def is_idle(self) -> bool:
        """Whether one has nothing to do."""
        return any(worker.number is None for worker in self._workers)

    @property
    def busy_with(self) -> list[int]:
        """Numbers of the runs that go on."""
        return sorted(each.number for each in self._workers if each.number is not None)

    def give(self, number: int, task: T) -> None:
        """Let an idle one make run ``number``."""
        worker = next(each for each in self._workers if each.number is None)
        worker.number = number
        with contextlib.suppress(OSError):  # it is gone, and ``news`` says so
            worker.connection.send(task)

    def news(self) -> list[tuple[int, str | Done[R] | Gone]]:
        """Wait until runs go on or end: their numbers, each with its step or its end."""
        ready = wait([worker.connection for worker in self._workers])
        found = []
        for worker in [each for each in self._workers if each.connection in ready]:
            number, received = worker.number, self._received(worker)
            if not isinstance(received, str):
                worker.number = None
            if number is not None:
                found.append((number, received))
        return found

    def _received(self, worker: _Worker) -> str | Done[R] | Gone:
        try:
            received: str | Done[R] = worker.connection.recv()
        except (EOFError, OSError):
            return self._replace(worker)
        return received

    def end(self, numbers: Sequence[int]) -> None:
        """End the runs ``numbers`` that go on; the workers that made them are not replaced."""
        self._end([worker for worker in self._workers if worker.number in numbers])

    def _end(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            worker.process.terminate()  # all at once
        for worker in workers:
            worker.end()
            self._workers.remove(worker)

    def _replace(self, worker: _Worker) -> Gone:
        with interrupt.held():
            worker.end()
            self._workers.remove(worker)
            self._add()
        code = worker.process.exitcode or 0
        if code < 0:
            return Gone(f"killed by {signal.Signals(-code).name}")
        return Gone(f"exit status {code}")

    def _add(self) -> None:
        context = multiprocessing.get_context("fork")
        ours, its = context.Pipe()
        process = context.Process(
            target=_serve, args=(its, self._work, os.getpid()), name="worker", daemon=True
        )
        # A signal that came to the worker before it takes any would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupt.SIGNALS)
        process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        its.close()
        self._workers.append(_Worker(process, ours))


def _serve(connection: Connection, work: Callable[[T, Step], R], parent: int) -> None:
    """What a worker does."""
    interrupt.install(is_silent=True)
    interrupt.begin()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt.SIGNALS)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        while os.getppid() == parent:
            connection.send(Done(work(connection.recv(), connection.send)))
    except (KeyboardInterrupt, EOFError, OSError):
        pass
    finally:
        interrupt.uninstall(is_over=True)
    if interrupt.came():
        interrupt.leave()
