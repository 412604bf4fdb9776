"""Boots a rig, runs one command in it, and returns its exit status."""

import contextlib
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from harness.errors import LostVM, UsageError
from harness.history import private
from harness.rig import command_line, image
from harness.rig.accelerator import can_kvm_boot
from harness.rig.follow import Pipe, follow
from harness.vm import builds

GUEST = Path(__file__).with_name("guest.sh")
CONSOLE = "console.log"
_STATUS = "status"
INSIDE = "VFIO_MULTIFD_RIG"
"""Environment variable that is set for a command in the rig."""


BOOTS = 3
"""How often a rig is booted whose kernel loses its timer before the command begins: without KVM the
timer of the second processor once in a while never comes, and the boot stops there."""
_LOST = b"Possible timer handling issue on cpu"
"""Of print_cpu_stall_info() and its callers in kernel/rcu/tree_stall.h."""
_BEGAN = ".began"


class _TimerLost(Exception):
    """The boot stops here, by no fault of the command."""


def is_inside() -> bool:
    """Whether this process runs in a rig."""
    return INSIDE in os.environ


def run(
    command: Sequence[str],
    folder: Path,
    *,
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
    qemu: str = "",
    writable: Sequence[Path] = (),
    deadline_s: float = 600.0,
) -> int:
    """Run ``command`` in a rig, in the working directory; its exit status, 0 to 255.

    :param folder: the directory for what is kept of the run, such as ``console.log``
    :param on_stdout: gets what the command writes, as it comes
    :param qemu: runs the rig; empty for the one that ``vm.builds`` finds
    :param writable: directories that the command may write to; they must exist
    :param deadline_s: for boot and command together
    :raise PrerequisiteMissing: there is no rig or no QEMU
    :raise UsageError: the command or a directory cannot be used
    :raise LostVM: the machine ended, or was ended, before the command did
    """
    if is_inside():
        raise UsageError("this is the rig already: run the command without `rig run`")
    if not command:
        raise UsageError("no command to run in the rig")
    for path in writable:
        if not path.is_dir():
            raise UsageError(f"{path}: not a directory")
    built = image.find()
    path = builds.find(qemu)
    private.make_folders(folder)
    machine = command_line.Machine(
        qemu=path, has_kvm=can_kvm_boot(path, built), writable=tuple(writable)
    )
    boot = (built, machine, folder.resolve(), command, on_stdout, on_stderr, deadline_s)
    for number in range(1, BOOTS):
        try:
            return _boot(*boot, number=number)
        except _TimerLost:
            continue
    return _boot(*boot, number=BOOTS)


def passed_on(file: BinaryIO) -> Callable[[bytes], None]:
    """A function that writes to ``file`` and flushes it, for ``on_stdout`` and ``on_stderr``."""

    def write(data: bytes) -> None:
        file.write(data)
        file.flush()

    return write


def _boot(
    built: image.Image,
    machine: command_line.Machine,
    folder: Path,
    command: Sequence[str],
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
    deadline_s: float,
    *,
    number: int,
) -> int:
    status = folder / _STATUS
    status.unlink(missing_ok=True)
    (folder / _BEGAN).unlink(missing_ok=True)
    _write_settings(built, machine, folder, command)
    with contextlib.ExitStack() as stack:
        stdout, stderr, console = (Pipe() for _ in range(3))
        for pipe in (stdout, stderr, console):
            stack.callback(pipe.close)
        private.write(folder / CONSOLE, b"")
        log = stack.enter_context((folder / CONSOLE).open("wb", buffering=0))
        stack.callback(_tidy, folder)
        if number > 1:
            log.write(f"rig: the kernel lost its timer; this is boot {number}\n".encode())
        said = b""

        def on_console(data: bytes) -> None:
            nonlocal said
            log.write(data)
            said = said[-len(_LOST) :] + data
            if number < BOOTS and _LOST in said and not (folder / _BEGAN).exists():
                raise _TimerLost

        argv = command_line.compose(
            built,
            machine,
            folder,
            ["sh", str(GUEST), str(folder)],
            {"rig.stdout": stdout.path, "rig.stderr": stderr.path},
        )
        ended = follow(
            argv,
            {stdout: on_stdout, stderr: on_stderr, console: on_console},
            stderr=console,
            deadline_s=deadline_s,
        )
        return _status(status, folder / CONSOLE, ended, deadline_s)


def _write_settings(
    built: image.Image, machine: command_line.Machine, folder: Path, command: Sequence[str]
) -> None:
    """Write what ``guest.sh`` reads."""
    writable = command_line.outermost([folder, *machine.writable])
    settings = {
        "programs": str(built.programs),
        "modules": str(built.modules),
        "root": command_line.ROOT,
        "writable": " ".join(map(str, writable)),
        "path": os.environ.get("PATH", os.defpath),
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    private.write(folder / "settings", "".join(lines).encode())
    text = f"cd {shlex.quote(str(Path.cwd()))} || exit 126\nexec {shlex.join(command)}\n"
    private.write(folder / "command", text.encode())


def _tidy(folder: Path) -> None:
    """Remove what only the boot needed."""
    for pattern in (command_line.INITRAMFS, "settings", "virtme_ret*", f".{_STATUS}", _BEGAN):
        for path in folder.glob(pattern):
            path.unlink()


def _status(status: Path, console: Path, ended: int | None, deadline_s: float) -> int:
    """The command's status.

    :raise LostVM: there is none
    """
    if status.exists():
        return int(status.read_text())
    if ended is None:
        why = f"the command did not end within {deadline_s:g} s"
    elif ended < 0:
        why = f"its QEMU was killed by signal {-ended}"
    else:
        why = f"its QEMU ended with status {ended} before the command had a status"
    lines = console.read_text(errors="backslashreplace").strip().splitlines()
    last = f"; last line of its console: {lines[-1].strip()}" if lines else ""
    raise LostVM(f"the rig was lost: {why}; {console}{last}")
