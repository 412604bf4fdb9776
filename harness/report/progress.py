"""Progress: one live line on a terminal, else one line for each run."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.status import Status

from harness.report import terminal
from harness.report.summary import Entry


class Progress:
    """Prints the progress of ``total`` runs.

    :param is_live: print the current step on one line that is overwritten
    :param is_silent: do not print a line when a run ends
    :param steps: print each step there, on a line of its own, for the log of a run that hangs
    """

    def __init__(
        self,
        out: Console,
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
        self._status = (
            Status("", console=out, spinner="line")
            if is_live and not is_silent and steps is None
            else None
        )

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
            terminal.print_run(self._out, self._number, entry)
        self._number += 1
