"""QMP through qemu.qmp, with a time limit on every command.  No other file imports qemu.qmp.

qemu.qmp itself waits forever.  After ``asyncio.timeout`` around it the connection is still
usable, and a late reply is dropped by its id.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)

from harness.errors import LostVM, QmpError, QmpTimeout
from harness.history import Event, Kind, Record, Side
from harness.scenario.action_plan import PAUSES, effect_of
from harness.vm.time_limit import TimeLimit

COMMAND_TIMEOUT_S = 10.0

# Its errors are raised here; its own log lines would only repeat them on stderr.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False


class _Client(QMPClient):
    """Without the library's log of messages, which is formatted even if it is not written."""

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


def _drop_ends(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore the end of a connection in a future of qemu.qmp that is no longer awaited.

    A cancelled call of ours leaves one (``AsyncProtocol._bh_disconnect``), and asyncio would print
    its traceback; the process records QEMU's end.
    """
    is_end = isinstance(context.get("exception"), EOFError | ConnectionError)
    if not (is_end and "never retrieved" in context.get("message", "")):
        loop.default_exception_handler(context)


class Monitor:
    """QEMU's monitor; every command, reply and event becomes a record.

    :ivar events: all events so far, as QEMU sent them
    :ivar has_quit: ``quit`` was sent: QEMU answers it some time before it ends
    :ivar is_paused: True if the last such command paused the guest, False if it resumed it; None
        if there was none
    """

    def __init__(
        self, side: Side, record: Callable[[Event], None], notify: Callable[[], None]
    ) -> None:
        self.side = side
        self.events: list[Event] = []
        self.has_quit = False
        self.is_paused: bool | None = None
        self._record = record
        self._notify = notify
        self._limits: set[TimeLimit] = set()
        self._pid: int | None = None
        self._client = _Client(str(side))
        # The filter sees each event as it arrives, before anything can wait for it.
        self._client.register_listener(EventListener(event_filter=self._on_event))

    async def connect(self, sock: socket.socket, timeout_s: float, pid: int | None = None) -> None:
        """Negotiate over ``sock``.

        :param pid: of the QEMU: time in which it gets no processor does not count (TimeLimit)
        :raise LostVM: QEMU sent no greeting within ``timeout_s``, or ended
        """
        asyncio.get_running_loop().set_exception_handler(_drop_ends)
        self._pid = pid
        limit = TimeLimit(timeout_s, pid)
        try:
            async with limit:
                await self._client.connect(sock)
        except TimeoutError as error:
            raise LostVM(f"{self.side}: no QMP greeting within {limit.waited_s:g} s") from error
        except ConnectError as error:
            raise LostVM(f"{self.side}: the monitor closed before its greeting") from error

    @property
    def version(self) -> tuple[int, int, int]:
        """QEMU's version, from the greeting."""
        greeting = self._client.greeting
        if greeting is None:
            raise LostVM(f"{self.side}: not connected")
        triple: Any = greeting.QMP.version["qemu"]
        return triple["major"], triple["minor"], triple["micro"]

    @property
    def version_text(self) -> str:
        """QEMU's version with its package's, from the greeting."""
        greeting = self._client.greeting
        package = str(greeting.QMP.version.get("package", "")) if greeting else ""
        return " ".join(filter(None, (".".join(map(str, self.version)), package)))

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Any:
        """Execute ``command``; returns its value.

        :raise QmpError: QEMU refused it
        :raise QmpTimeout: no answer in time; it may still be executed
        :raise LostVM: the monitor is gone
        """
        self._note("execute", {"command": command, "arguments": arguments or {}})
        effect = effect_of(command, arguments)
        self.has_quit |= effect == "quit"
        try:
            value = await self._ask(command, arguments, timeout_s)
        except QmpError as error:
            args = {"command": command, "class": error.error_class, "desc": error.desc}
            self._note("error", args)
            raise
        self._note("return", {"command": command, "value": value})
        self.is_paused = PAUSES.get(effect, self.is_paused)
        return value

    async def ask(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """As :meth:`execute`, but not recorded: a question about the build, not part of the run."""
        return await self._ask(command, arguments, COMMAND_TIMEOUT_S)

    async def human(self, *lines: str) -> list[str]:
        """Execute ``lines`` in the human monitor; returns the answers.  Not recorded.

        All lines are sent before the first answer is awaited.  They run in order, without lines of
        another call between them: tasks start in the order in which they are made, and sending
        does not suspend.

        :raise VMError: as :meth:`execute`
        """
        answers = await asyncio.gather(
            *(
                self._ask("human-monitor-command", {"command-line": line}, COMMAND_TIMEOUT_S)
                for line in lines
            )
        )
        return [str(answer) for answer in answers]

    async def _ask(
        self, command: str, arguments: dict[str, Any] | None, timeout_s: float
    ) -> object:
        limit = TimeLimit(timeout_s, self._pid)
        self._limits.add(limit)
        try:
            async with limit:
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise QmpError(command, error.error_class, str(error)) from error
        except TimeoutError as error:
            raise QmpTimeout(
                f"{self.side}: {command} was not answered within {limit.waited_s:g} s"
            ) from error
        except (ExecInterruptedError, StateError) as error:
            raise LostVM(f"{self.side}: the monitor went away during {command}") from error
        finally:
            self._limits.discard(limit)

    def give_up(self) -> None:
        """Wait no longer for answers to commands, because the main loop is blocked: they raise
        ``QmpTimeout`` at once.
        """
        for limit in self._limits:
            limit.give_up()

    async def is_answering(self, *, oob: bool) -> bool:
        """Whether a command without effect is answered: True once it is, False if the connection
        ends.  The caller limits the time.

        :param oob: out-of-band, by the monitor's own thread: then a blocked main loop does not
            matter, and only a stopped or dead process does not answer
        """
        try:
            await self._client.execute("query-yank", oob=oob)
        except QMPError:
            return False
        return True

    async def wait_gone(self) -> None:
        """Wait until the connection has ended, from whichever side."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    async def close(self) -> None:
        """Close the connection; does nothing if there is none.

        An error is ignored: the process records QEMU's end.
        """
        if self._client.runstate is Runstate.IDLE:
            return
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await self._client.disconnect()
        except (QMPError, EOFError, OSError):
            return  # a clean quit raises EOFError here too

    def _note(self, name: str, args: dict[str, Any]) -> None:
        self._record(Record(time.time_ns(), self.side, Kind.QMP, name, args))

    def _on_event(self, message: Message) -> bool:
        stamp = message["timestamp"]
        data = message.get("data", {})
        if not (isinstance(stamp, dict) and isinstance(data, dict)):
            return False
        t_ns = stamp["seconds"] * 10**9 + stamp["microseconds"] * 1000
        event = Record(
            t_ns, self.side, Kind.QMP, str(message["event"]), data, str(data.get("device-id", ""))
        )
        self.events.append(event)
        self._record(event)
        self._notify()
        return False  # nothing is queued
