"""Where a session's parts record what they see."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from harness.history import Body, Record, Side, plain
from harness.scenario.action_plan import When

Progress = Callable[[str], None]
"""Called with the name of each step of a session as it begins."""


def silent(_step: str) -> None:
    """Show no progress."""


class Watch:
    """Set once the moment ``when`` has come; made and awaited in the session's loop."""

    def __init__(self, when: When) -> None:
        self._when = when
        self._left = when.count
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()

    @property
    def is_reached(self) -> bool:
        """Whether the moment has come."""
        return self._left <= 0

    def see(self, record: Record) -> None:
        """``record`` was written, by whichever thread."""
        when = self._when
        if (
            record.name == when.name
            and record.kind.value == when.kind
            and when.side in ("", record.side.value)
            and _has(record, when.args)
        ):
            self._left -= 1
            if self._left == 0:
                self._loop.call_soon_threadsafe(self._reached.set)

    async def wait(self) -> None:
        """Until the moment has come."""
        await self._reached.wait()


def _has(record: Record, wanted: Mapping[str, Any]) -> bool:
    args = plain(record) if wanted else {}
    return all(args.get(name) == value for name, value in wanted.items())


class Log:
    """All records of one session, in the order in which they were made."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._listeners: list[Callable[[Record], None]] = []

    def __call__(self, record: Record) -> None:
        """Keep ``record``; from any thread."""
        self.records.append(record)
        for listener in self._listeners:
            listener(record)

    def record(self, args: Body, side: Side = Side.HARNESS, device: str = "") -> None:
        """Record what the session itself did or saw, now."""
        self(Record.of(time.time_ns(), side, args, device))

    def listen(self, listener: Callable[[Record], None]) -> None:
        """Call ``listener`` with every record from now on, in the thread that records it."""
        self._listeners.append(listener)

    def watch(self, when: When) -> Watch:
        """Watch for ``when`` from now on."""
        watch = Watch(when)
        self.listen(watch.see)
        return watch


class SideLog:
    """The log of one side's parts: their records get the side that they are now.

    A QEMU that goes on into another migration may change its side: ``move`` changes side and
    log, and the parts that record need not know.
    """

    def __init__(self, side: Side, log: Log) -> None:
        self.side = side
        self._log = log

    def __call__(self, record: Record) -> None:
        """Pass ``record`` on, under the present side."""
        if record.side is not self.side:
            record = msgspec.structs.replace(record, side=self.side)
        self._log(record)

    @property
    def records(self) -> list[Record]:
        """All records of the present side in the present log."""
        return [record for record in self._log.records if record.side is self.side]

    def move(self, side: Side, log: Log) -> None:
        """From now on, record for ``side`` in ``log``."""
        self.side, self._log = side, log
