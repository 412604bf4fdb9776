"""The command ``vfio-multifd``: takes signals, and only then imports and calls the rest.

Exit statuses: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine was lost, 4 usage:
what was asked for cannot be done, and trying again does not help; 128 and the number of a
signal that ended it: 130 SIGINT, 143 SIGTERM, 129 SIGHUP, 141 the reader of the output went.
"""

import sys
from collections.abc import Sequence

from harness import interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``; the exit status.

    :param argv: None: this is the program, which ends with this call
    """
    interrupt.install()
    is_program = argv is None
    try:
        from harness.commands import program  # noqa: PLC0415

        if is_program:
            from harness.commands import output  # noqa: PLC0415

            output.take_over()
        status = program.run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        status = interrupt.status()
    finally:
        interrupt.uninstall(is_over=is_program)
    if is_program and interrupt.came():
        interrupt.leave()
    return status


if __name__ == "__main__":
    sys.exit(main())
