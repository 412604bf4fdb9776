"""Runs all checks and prints each result as it comes."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.style import Style
from rich.text import Text

import harness
from harness import PROGRAM
from harness.doctor import kernel_vfio, machine, passthrough, qemu, sandbox
from harness.doctor.check import Check, State
from harness.errors import LOST
from harness.report import terminal

_STYLES = {
    State.OK: Style(color="green"),
    State.MISSING: Style(color="red", bold=True),
    State.OPTIONAL: Style(color="yellow"),
}


def report(qemus: Sequence[str], runs_dir: Path, *, is_json: bool) -> int:
    """Run all checks, print the results, and return the exit status."""
    checks = []
    out = terminal.console(is_plain=not sys.stdout.isatty())
    for check in examine(qemus, runs_dir):
        checks.append(check)
        if not is_json:
            out.print(
                Text.assemble(
                    (f"{check.state:<10}", _STYLES[check.state]),
                    f"{check.what}: {check.found}",
                    f"\n{'':10}-> {check.fix}" if check.fix else "",
                ),
                soft_wrap=True,
            )
    missing = [check.what for check in checks if check.state is State.MISSING]
    if is_json:
        found = {"harness": harness.__version__, "fit": not missing, "checks": checks}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    elif missing:
        out.print(f"\nThe main job cannot run here; missing: {', '.join(missing)}.")
    else:
        out.print(f"\nThe main job can run here: {PROGRAM} run")
    return LOST if missing else 0


def examine(qemus: Sequence[str], runs_dir: Path) -> Iterator[Check]:
    """All checks, each after those that it builds on."""
    yield machine.python()
    yield machine.kernel()
    yield sandbox.notification()
    yield sandbox.memory_of_a_child()
    yield machine.setpriv()
    yield machine.open_files()
    yield machine.memory()
    yield machine.space(runs_dir)
    yield from qemu.all_of(qemus)
    yield machine.gdb()
    yield from passthrough.all_of()
    yield from kernel_vfio.all_of()
