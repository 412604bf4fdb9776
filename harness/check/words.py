"""Lines of a QEMU's standard error: whether one is a warning, when it was written, whom it names.

Such lines are recorded when the process has ended.  Their time is the stamp that QEMU puts
in front of them (``-msg timestamp=on``; vreport() of util/error-report.c).  A line without a
stamp is of something else: GLib, an assertion, the rest of a longer message, an option in
front of -msg.  It came after the lines before it; how long after is not known.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from harness.history.records import Record

STAMP_PRECISION_NS = 1000
"""A stamp has microseconds, cut off."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z ")
_WARNING = re.compile(r"(?:\S+Z )?\S+:(?: -\w.*?:)? (?:warning|info): ")
_END_OF_STREAM = re.compile(r"end-of-file|Connection reset")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Errors(NamedTuple):
    """Errors since a moment, each with its record."""

    certain: list[tuple[Record, str]]
    """Reported since then."""
    possible: list[tuple[Record, str]]
    """Perhaps reported since then: lines without a stamp."""


def is_warning(line: str) -> bool:
    """Whether QEMU marks the line as a warning or an information, which is no error.

    The mark follows the program's name and the option that it is about.
    """
    return _WARNING.match(line) is not None


def is_end_of_stream(text: str) -> bool:
    """Whether it is the error of a destination whose source has closed the stream (io/channel.c,
    errno)."""
    return _END_OF_STREAM.search(text) is not None


def stamp_ns(line: str) -> int | None:
    """The time in front of the line, ns since the epoch; None if it has none."""
    found = _STAMP.match(line)
    if found is None:
        return None
    try:
        since = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) - _EPOCH
    except ValueError:
        return None
    return since // timedelta(microseconds=1) * 1000


def is_named(text: str, names: set[str]) -> bool:
    """Whether one of ``names`` is in ``text`` as a word of its own.

    ``vfio1`` is not in ``vfio10``, nor ``vfio`` in ``0000:00:02.0/vfio``.
    """
    either = "|".join(map(re.escape, sorted(names)))
    return bool(names) and re.search(rf"(?<![\w./-])(?:{either})(?![\w/-])", text) is not None
