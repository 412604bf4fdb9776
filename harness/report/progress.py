"""Progress: one live line on a terminal, else one line for each run.

rich is imported when the first line is printed, so that the first run need not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from harness.report.summary import Entry

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


class Progress:
    """Prints the progress of ``total`` runs.

    :param out: returns the console
    :param is_live: print the current step on one line that is overwritten
    :param is_silent: do not print a line when a run ends
    :param steps: print each step there, on a line of its own, for the log of a run that hangs
    """

    def __init__(
        self,
        out: Callable[[], Console],
        total: int,
        *,
        is_live: bool,
        is_silent: bool,
        steps: TextIO | None = None,
    ) -> None:
        self._out = out
        self._total = total
        self._number = 1
        self._is_silent = is_silent
        self._steps = steps
        self._status: Status | None = None
        if is_live and not is_silent and steps is None:
            from rich.status import Status  # noqa: PLC0415 - see above

            self._status = Status("", console=out(), spinner="line")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, name: str, what: str) -> None:
        """The current run, of scenario ``name``, does ``what``."""
        if self._steps is not None:
            self._steps.write(f"     {name}: {what}\n")
            self._steps.flush()
        elif self._status is not None:
            self._status.update(f"{self._number} of {self._total}  {name}: {what}")

    def end(self, entry: Entry) -> None:
        """A run has ended: the current one, or a migration that followed it."""
        if not self._is_silent:
            from harness.report import terminal  # noqa: PLC0415 - see above

            terminal.print_run(self._out(), self._number, entry)
        self._number += 1
