"""What the commands say for themselves."""

import sys

from harness.report.summary import PROGRAM


def say(line: str) -> None:
    """One line on standard output, seen at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(words: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{PROGRAM}: error: {' '.join(words.split())}\n")
    sys.stderr.flush()
