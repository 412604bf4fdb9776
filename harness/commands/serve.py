"""``vfio-multifd serve``: run a QEMU command line with a scenario's devices attached.

``by-hand.sh`` of a run directory calls it; it is also of use alone, under gdb or perf.
"""

import argparse
import contextlib
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TextIO

from harness import PROGRAM, interrupt, scenario
from harness.commands.arguments import command_of
from harness.devices.attachments import Attachments
from harness.errors import PrerequisiteMissing, UsageError, of_a_part
from harness.history import Record, Side
from harness.history.device import Arc, Received, Sent
from harness.scenario import Scenario
from harness.supervisor.spawn import Spawn
from harness.vm.process import GUARD

DEVICES = "@devices@"
"""Placeholder in a QEMU command line for the devices' options."""

_GRACE_S = 0.7  # of a QEMU that is to end by SIGTERM; a signal ends us within 2 s


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.usage = f"{PROGRAM} serve --scenario FILE --side SIDE -- QEMU ARGS... {DEVICES} ..."
    parser.description = (
        f"Runs a QEMU command line in the foreground, with the scenario's devices in place of "
        f"{DEVICES}, and reports at its end what the devices did.  Files that QEMU creates are "
        "private to you, its monitor's socket included."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE",
                        help="scenario to take the devices from")  # fmt: skip
    parser.add_argument("--side", choices=[Side.SOURCE.value, Side.DESTINATION.value],
                        required=True, help="this QEMU's side of the migration")  # fmt: skip
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="QEMU ARGS...",
                        help=f"QEMU command line, with {DEVICES} as one argument")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    argv = command_of(options, f"serve: no QEMU to run: {PROGRAM} serve ... -- QEMU {DEVICES}")
    return serve(scenario.load(options.scenario), Side(options.side), argv, sys.stderr)


def serve(scenario: Scenario, side: Side, argv: Sequence[str], out: TextIO) -> int:
    """Run the QEMU command line ``argv`` in the foreground, and print what its devices did.

    The status is QEMU's own; 128 and the number for a signal.

    :raise UsageError: ``argv`` has no place for the devices
    :raise PrerequisiteMissing: it, or setpriv, cannot be executed
    """
    if DEVICES not in argv:
        raise UsageError(f"serve: QEMU's arguments lack {DEVICES}, the place of the devices")
    if shutil.which(argv[0]) is None:
        raise PrerequisiteMissing(f"{argv[0]}: no such program")
    records: list[Record] = []
    devices = Attachments(side, scenario.devices, records.append, ram_mib=scenario.ram_mib)
    with contextlib.closing(devices):
        if side is Side.SOURCE:
            devices.fill_contents()
        at = argv.index(DEVICES)
        command = [*GUARD, *argv[:at], *devices.options(), *argv[at + 1 :]]
        spawn = Spawn(argv=command, stdin=None, is_foreground=True)
        status = _run_qemu(functools.partial(devices.launch, spawn))
        devices.report()
    if devices.failure is not None:
        raise of_a_part("the supervisor", devices.failure) from devices.failure
    for device in scenario.emulated:  # what the others did cannot be seen
        for line in _story(device.id, side, records):
            out.write(f"{line}\n")
    return status if status >= 0 else 128 - status


def _run_qemu(launch: Callable[[], subprocess.Popen[bytes]]) -> int:
    """Run QEMU to its end; its status as of ``subprocess``.

    A signal ends QEMU, by SIGTERM or, if it ignores that, by SIGKILL; the report is still made.
    The terminal sends Ctrl-C to QEMU too.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interrupt.held():
            process = launch()
        return process.wait()
    except FileNotFoundError as error:
        raise PrerequisiteMissing("setpriv is missing: install util-linux") from error
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
    states, ends = ["RUNNING"], []
    for record in records:
        match record.args if record.device == device else None:
            case Arc(state=state, errno=errno):
                states.append(f"{state} (errno {errno})" if errno else state)
            case Sent(bytes=size, digest=digest) | Received(bytes=size, digest=digest):
                ends.append(f"{side} {device}: {record.name} {size} bytes, digest {digest}")
    return [f"{side} {device}: states: {' -> '.join(states)}", *ends]
