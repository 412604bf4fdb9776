"""``vfio-multifd qmp``: send QMP commands to a QEMU, and print what it answers."""

import argparse
import asyncio
import contextlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from harness import interrupt
from harness.commands.arguments import seconds
from harness.errors import LostVM, QmpError, UsageError, in_words
from harness.history import Event, Side
from harness.proxy.address import within_reach
from harness.vm.activity import Activity
from harness.vm.qmp import Monitor

_APPEAR_TIMEOUT_S = 5.0
_LISTEN_TIMEOUT_S = 0.5
_CONNECT_PAUSE_S = 0.05


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Sends QMP commands from standard input, one per line, as JSON or as a name alone, and "
        "prints replies and events.  Exit status: 1 if QEMU refused a command."
    )
    parser.add_argument("socket", type=Path, metavar="SOCKET",
                        help="path in QEMU's -qmp unix:SOCKET,server=on")  # fmt: skip
    parser.add_argument("--until", type=_event, action="append", default=[],
                        metavar="EVENT[=STATUS]",
                        help="event to wait for at the end, like MIGRATION=completed; any of them "
                        "if several are given (repeatable)")  # fmt: skip
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS",
                        help="time limit of each command and of the wait "
                        "(default: 60)")  # fmt: skip


def _event(text: str) -> str:
    if re.fullmatch(r"[^\s=]+(=[^\s=]+)?", text) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not like MIGRATION or MIGRATION=completed")
    return text


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    return converse(options.socket, sys.stdin, options.until, options.timeout)


def converse(path: Path, commands: TextIO, untils: Sequence[str], timeout_s: float) -> int:
    """Send the QMP commands of ``commands``, one per line, and print all that QEMU sends.

    Then wait until one of ``untils`` (``EVENT`` or ``EVENT=STATUS``) was seen, unless a
    command was refused.  Exit status 0, or 1 if a command was refused.

    :raise LostVM: there is no QEMU at ``path``, or it went away
    :raise UsageError: a line is not a command
    """
    return interrupt.run(_converse(path, commands, untils, timeout_s))


async def _converse(path: Path, commands: TextIO, untils: Sequence[str], timeout_s: float) -> int:
    with await _connect(path) as sock:
        conversation = _Conversation(timeout_s)
        await conversation.monitor.connect(sock, timeout_s)
        try:
            all_done = await conversation.send(commands)
            if untils and all_done:
                await conversation.wait(untils)
        finally:
            await conversation.monitor.close()
    return 0 if all_done else 1


class _Conversation:
    """One connection; what QEMU sends is printed as it comes."""

    def __init__(self, timeout_s: float) -> None:
        self._activity = Activity()
        self._timeout_s = timeout_s
        self._is_silent = False
        self.monitor = Monitor(Side.HARNESS, self._print, self._activity.notify)

    async def send(self, commands: TextIO) -> bool:
        """Whether QEMU did all the commands."""
        lines, number, all_done = _lines(commands), 0, True
        while (line := await lines.get()) is not None:
            number += 1
            if isinstance(line, Exception):
                why = "not UTF-8" if isinstance(line, UnicodeError) else in_words(line)
                raise UsageError(f"standard input cannot be read after line {number - 1}: {why}")
            if not line.strip():
                continue
            command, arguments = _command(line, number)
            try:
                await self.monitor.execute(command, arguments, self._timeout_s)
            except QmpError:
                all_done = False  # printed, being a record
        return all_done

    async def wait(self, untils: Sequence[str]) -> None:
        """Wait for one of the events; a status of MIGRATION may be reached already."""
        found: set[str] = set()
        if any(until.startswith("MIGRATION=") for until in untils):
            self._is_silent = True
            answer = await self.monitor.execute("query-migrate", {}, self._timeout_s)
            self._is_silent = False
            found.add(f"MIGRATION={answer.get('status')}")
        gone = False

        def seen() -> bool | None:
            for event in self.monitor.events:
                found.update((event.name, f"{event.name}={event.args.get('status')}"))
            return True if gone or found & set(untils) else None

        async def watch() -> None:
            nonlocal gone
            await self.monitor.wait_gone()
            gone = True
            self._activity.notify()

        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            with contextlib.suppress(TimeoutError):
                await self._activity.until(seen, self._timeout_s)
            watcher.cancel()
        if not found & set(untils):
            what = "QEMU went away" if gone else f"{self._timeout_s:g} s passed"
            raise LostVM(f"{what} before {' or '.join(untils)} came")

    def _print(self, record: Event) -> None:
        """One line of JSON for each reply and event, in QEMU's own shape."""
        match record.name:
            case "execute":
                return
            case "return" if self._is_silent:
                return
            case "return":
                reply: dict[str, Any] = {"return": record.args["value"]}
            case "error":
                reply = {"error": {key: record.args[key] for key in ("class", "desc")}}
            case event:
                reply = {"event": event, "data": record.args}
        sys.stdout.write(f"{json.dumps(reply)}\n")
        sys.stdout.flush()


async def _connect(path: Path) -> socket.socket:
    """A connection to the monitor at ``path``, which a QEMU that starts may not have yet."""
    deadline = time.monotonic() + _APPEAR_TIMEOUT_S
    refused_until = float("inf")
    while time.monotonic() < min(deadline, refused_until):
        sock = socket.socket(socket.AF_UNIX)
        try:
            with within_reach(path) as name:
                sock.connect(name)
        except OSError as error:
            sock.close()
            if not isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise LostVM(f"{path}: cannot connect: {error.strerror or error}") from error
            if isinstance(error, ConnectionRefusedError):  # about to listen, or long gone
                refused_until = min(refused_until, time.monotonic() + _LISTEN_TIMEOUT_S)
        else:
            return sock
        await asyncio.sleep(_CONNECT_PAUSE_S)
    raise LostVM(f"{path}: no monitor listens there; has QEMU exited?")


def _lines(commands: TextIO) -> asyncio.Queue[str | Exception | None]:
    """The lines of ``commands`` as they come in, then None, or why no more can be read.

    Read by a daemon thread, so that neither events nor the end wait for a terminal.
    """
    queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        last: Exception | None = None
        with contextlib.suppress(RuntimeError):  # the loop has ended before the input did
            try:
                for line in commands:
                    loop.call_soon_threadsafe(queue.put_nowait, line)
            except (OSError, UnicodeError) as error:
                last = error
            loop.call_soon_threadsafe(queue.put_nowait, last)

    threading.Thread(target=read, daemon=True).start()
    return queue


def _command(line: str, number: int) -> tuple[str, dict[str, Any]]:
    """Name and arguments of ``{"execute": NAME, "arguments": {...}}``, or of ``NAME`` alone."""
    text = line.strip()
    if any("\ud800" <= character <= "\udfff" for character in text):  # undecodable bytes
        raise UsageError(f"line {number}: not UTF-8")
    if not text.startswith("{"):
        return text, {}
    try:
        found = msgspec.json.decode(text)
    except RecursionError as error:
        raise UsageError(f"line {number}: JSON is nested too deeply") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"line {number}: not JSON: {error}") from error
    command, arguments = found.get("execute"), found.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise UsageError(f'line {number}: not like {{"execute": "query-status"}}')
    return command, arguments
