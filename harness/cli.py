"""The command ``vfio-multifd``: takes signals, and only then imports and calls the rest.

Exit statuses: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine failed, 4 usage:
the request cannot be carried out, and another try gives the same error; 128 and the number of a
signal that ended it: 130 SIGINT, 143 SIGTERM, 129 SIGHUP; 141 standard output was closed.
"""

import gc
import sys
from collections.abc import Sequence

from harness import interrupt

COMMANDS = {
    "run": "run the main job, or scenarios, and judge them",
    "check": "check whether scenarios can be run; migrate nothing",
    "replay": "replay a captured stream into a destination QEMU",
    "repro": "reproduce known findings in QEMU",
    "recheck": "judge saved runs again, without QEMU",
    "compare": "compare saved runs of two builds",
    "measure": "measure downtime, and compare series",
    "show": "list a capture's contents",
    "export": "convert a run to a trace for ui.perfetto.dev",
    "serve": "run a QEMU command line with emulated devices",
    "relay": "relay a migration between two QEMUs, with faults",
    "qmp": "send QMP commands to a QEMU",
    "credentials": "create TLS credentials for a scenario",
    "rig": "run commands in a virtual machine with the kernel's own VFIO",
    "qemu": "list, fetch and build QEMU builds to test",
    "bisect": "take one step of git bisect run in a QEMU tree",
    "doctor": "check this machine's prerequisites",
}
"""Name and help of each command; ``harness.commands.NAME`` is imported when it is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``; the exit status.

    :param argv: None if this is the program, which ends with this call
    """
    interrupt.install()
    is_program = argv is None
    if is_program:
        gc.disable()  # until the command is imported: what is imported is no garbage
    try:
        from harness.commands import program  # noqa: PLC0415 - takes signals before

        if is_program:
            from harness.commands import output  # noqa: PLC0415

            output.take_over()
        status = program.run(sys.argv[1:] if argv is None else argv, COMMANDS)
    except KeyboardInterrupt:
        status = interrupt.status()
    finally:
        interrupt.uninstall(is_over=is_program)
    if is_program and interrupt.came():
        interrupt.leave()
    if is_program:
        gc.freeze()  # else Python looks for garbage in all of it once more: 50 ms
    return status


if __name__ == "__main__":
    sys.exit(main())
