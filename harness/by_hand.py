"""Work **by hand**: any QEMU with a scenario's devices attached, and a plain QMP line client.

What ``by-hand.sh`` of a run directory calls; also of use alone, under gdb or perf.
"""

import asyncio
import contextlib
import functools
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from harness import interrupt
from harness.devices.attachments import Attachments
from harness.errors import LostVM, PrerequisiteMissing, QmpError, UsageError, in_words, of_a_part
from harness.history import Record, Side
from harness.proxy.address import within_reach
from harness.scenario import Scenario
from harness.vm.activity import Activity
from harness.vm.process import GUARD
from harness.vm.qmp import Monitor

DEVICES = "@devices@"
"""Argument of a QEMU command line that the devices' options are put in place of."""

_GRACE_S = 0.7  # of a QEMU that is to end by SIGTERM; a signal ends us within 2 s
_APPEAR_TIMEOUT_S = 5.0
_LISTEN_TIMEOUT_S = 0.5
_CONNECT_PAUSE_S = 0.05


# -- serve -------------------------------------------------------------------------------


def serve(scenario: Scenario, side: Side, argv: Sequence[str], out: TextIO) -> int:
    """Run the QEMU command line ``argv`` in the foreground, and tell what its devices did.

    The status is QEMU's own; 128 and the number for a signal.

    :raise UsageError: ``argv`` has no place for the devices
    :raise PrerequisiteMissing: it, or setpriv, cannot be executed
    """
    if DEVICES not in argv:
        raise UsageError(f"serve: {DEVICES} is not among QEMU's arguments: the devices go there")
    if shutil.which(argv[0]) is None:
        raise PrerequisiteMissing(f"{argv[0]}: there is no such program")
    records: list[Record] = []
    devices = Attachments(side, scenario.devices, records.append, ram_mib=scenario.ram_mib)
    with contextlib.closing(devices):
        if side is Side.SOURCE:
            devices.fill_contents()
        at = argv.index(DEVICES)
        command = [*GUARD, *argv[:at], *devices.options(), *argv[at + 1 :]]
        status = _run(functools.partial(devices.launch, command, stdin=None, is_foreground=True))
        devices.report()
    if devices.failure is not None:
        raise of_a_part("the supervisor", devices.failure) from devices.failure
    for device in scenario.emulated:  # nobody sees into the others
        for line in _story(device.id, side, records):
            out.write(f"{line}\n")
    return status if status >= 0 else 128 - status


def _run(launch: Callable[[], subprocess.Popen[bytes]]) -> int:
    """Run QEMU to its end; its status as of ``subprocess``.

    A signal ends QEMU, by SIGTERM if it heeds that, and we stay to report what was done.  The
    terminal sends Ctrl-C to QEMU too.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interrupt.held():
            process = launch()
        return process.wait()
    except FileNotFoundError as error:
        raise PrerequisiteMissing("setpriv is not there: install util-linux") from error
    except KeyboardInterrupt:
        if process is None:
            raise
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_GRACE_S)
        process.kill()
        return process.wait()
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


def _story(device: str, side: Side, records: Iterable[Record]) -> list[str]:
    """What one device did: its arcs, and what it sent or received."""
    ours = [record for record in records if record.device == device]
    arcs = [
        record.args["state"] + (f" (errno {record.args['errno']})" if record.args["errno"] else "")
        for record in ours
        if record.name == "arc"
    ]
    lines = [f"{side} {device}: states: {' -> '.join(['RUNNING', *arcs])}"]
    for record in ours:
        if record.name in ("sent", "received"):
            size, digest = record.args["bytes"], record.args["digest"]
            lines.append(f"{side} {device}: {record.name} {size} bytes, digest {digest}")
    return lines


# -- qmp ---------------------------------------------------------------------------------


def converse(path: Path, commands: TextIO, untils: Sequence[str], timeout_s: float) -> int:
    """Send the QMP commands of ``commands``, one a line, and print all that QEMU says.

    Then wait until one of ``untils`` (``EVENT`` or ``EVENT=STATUS``) was seen, unless a
    command was refused.  0: all went well; 1: a command was refused.

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
    """One connection; what QEMU says is printed as it comes."""

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
        told: set[str] = set()
        if any(until.startswith("MIGRATION=") for until in untils):
            self._is_silent = True
            answer = await self.monitor.execute("query-migrate", {}, self._timeout_s)
            self._is_silent = False
            told.add(f"MIGRATION={answer.get('status')}")
        gone = False

        def seen() -> bool | None:
            for event in self.monitor.events:
                told.update((event.name, f"{event.name}={event.args.get('status')}"))
            return True if gone or told & set(untils) else None

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
        if not told & set(untils):
            what = "QEMU went away" if gone else f"{self._timeout_s:g} s passed"
            raise LostVM(f"{what} before {' or '.join(untils)} came")

    def _print(self, record: Record) -> None:
        """One line of JSON for each reply and event, in QEMU's own shape."""
        match record.name:
            case "execute":
                return
            case "return" if self._is_silent:
                return
            case "return":
                said: dict[str, Any] = {"return": record.args["value"]}
            case "error":
                said = {"error": {key: record.args[key] for key in ("class", "desc")}}
            case event:
                said = {"event": event, "data": record.args}
        sys.stdout.write(f"{json.dumps(said)}\n")
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
    raise LostVM(f"{path}: no monitor is there: did QEMU end?")


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
        raise UsageError(f"line {number}: not JSON that can be read: nested too deeply") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"line {number}: not JSON: {error}") from error
    command, arguments = found.get("execute"), found.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise UsageError(f'line {number}: not like {{"execute": "query-status"}}')
    return command, arguments
