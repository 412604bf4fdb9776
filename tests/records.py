"""Records of a run by their type, for tests on real QEMUs."""

from collections.abc import Sequence
from typing import TypeVar, cast

from harness.history import Body, Record, Side
from harness.history.by_type import ByType
from harness.history.records import Event
from harness.history.rundir import History
from harness.job.run import Run

B = TypeVar("B", bound=Body)


def of(
    run: Run | History, body: type[B], side: Side | None = None, device: str | None = None
) -> Sequence[Record[B]]:
    """The records of ``run`` that hold a ``body`` (``ByType.of``)."""
    history = run.history if isinstance(run, Run) else run
    return ByType(history.records).of(body, side, device)


def held(
    run: Run | History, body: type[B], side: Side | None = None, device: str | None = None
) -> list[B]:
    """What those records hold."""
    return [record.args for record in of(run, body, side, device)]


def events(run: Run | History) -> list[Event]:
    """The records of trace and monitor."""
    history = run.history if isinstance(run, Run) else run
    return [cast(Event, record) for record in history.records if isinstance(record.args, dict)]
