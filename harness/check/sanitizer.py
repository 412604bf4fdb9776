"""What a sanitizer of a QEMU's build has reported on its standard error.

A report is known by its first line: ``==PID==ERROR: AddressSanitizer: ...`` (or
LeakSanitizer), ``FILE:LINE:COLUMN: runtime error: ...`` of the undefined-behaviour sanitizer,
``WARNING: ThreadSanitizer: ...``.  QEMU's own words cannot be taken for one: they start with
a time or with the program's name.

How this could be wrong, and what prevents it:

- A QEMU is blamed for memory that it had in use.  A leak is what is left at the exit, so it
  counts only for one that was asked to quit with its migration over, and that ended by itself;
  one that was killed, that exits on its error, or whose migration still went on has memory in
  use.  Such reports are counted, not judged.
- A report is not seen, because the QEMU ended well.  The exit status does not matter.
- The sanitizer's own trouble is taken for QEMU's: only the lines above are a report, so
  neither ``WARNING: AddressSanitizer failed to allocate`` nor ``LeakSanitizer has encountered
  a fatal error`` is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.check.evidence import PEERS, Evidence
from harness.history.process import Signalled, Stderr
from harness.history.records import Record, Side

SHAPE = "sanitizer-report"
_FIRST = tuple(
    re.compile(pattern)
    for pattern in (
        r"==\d+==ERROR: (?P<tool>(?:Address|Leak)Sanitizer): (?P<what>.+)",
        r"WARNING: (?P<tool>ThreadSanitizer): (?P<what>.+)",
        r"(?P<what>[^\s:]+:\d+:\d+: runtime error: .+)",
    )
)
_FRAME = re.compile(r"\s*#(?P<number>\d+) (?:0x[0-9a-f]+ )?(?:in )?(?P<function>[A-Za-z_]\w*)")
_CHANGING = re.compile(r" \(pid=\d+\)| on (?:unknown )?address .*")
"""Numbers that are others in each run."""
_ALLOCATOR = re.compile(r"__interceptor_|__asan|_*(malloc|calloc|realloc|vasprintf|g_)")
_LINES = 16
"""Lines of a report that are evidence: its text, and the innermost functions."""
_OVER = ("", "completed", "failed", "cancelled")
"""Statuses of a migration that has ended, or was not begun."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report, in the order of the records.

    :ivar tool: ``AddressSanitizer``, ``LeakSanitizer``, ``ThreadSanitizer`` or
        ``UndefinedBehaviorSanitizer``
    :ivar what: its words
    :ivar functions: the innermost functions of its first stack, allocators left out
    :ivar lines: its first lines
    """

    side: Side
    tool: str
    what: str
    functions: tuple[str, ...]
    lines: tuple[Record, ...]

    @property
    def sentence(self) -> str:
        """It as a finding's sentence."""
        where = f" in {' < '.join(self.functions)}" if self.functions else ""
        return f"the {self.side} QEMU: {self.tool}: {self.what}{where}"


def reports(evidence: Evidence) -> tuple[list[Report], int]:
    """All that count, those that ended a QEMU first; and how many leaks do not count."""
    found = [report for side in PEERS for report in _of(evidence, side)]
    found.sort(key=lambda report: report.tool != "AddressSanitizer")
    judged = [r for r in found if r.tool != "LeakSanitizer" or _has_quit(evidence, r.side)]
    return judged, len(found) - len(judged)


def _of(evidence: Evidence, side: Side) -> list[Report]:
    lines = evidence.of(Stderr, side)
    texts = [record.args.line for record in lines]
    starts = [n for n, text in enumerate(texts) if _first(text)]
    ends = [*starts[1:], len(texts)][: len(starts)]
    return [_report(side, lines[at:end]) for at, end in zip(starts, ends, strict=True)]


def _first(text: str) -> re.Match[str] | None:
    return next((match for first in _FIRST if (match := first.fullmatch(text))), None)


def _report(side: Side, lines: Sequence[Record[Stderr]]) -> Report:
    texts = [record.args.line for record in lines]
    match = _first(texts[0])
    assert match is not None
    tool = match.groupdict().get("tool", "UndefinedBehaviorSanitizer")
    what = _CHANGING.sub("", match["what"]).strip()
    own = next(filter(None, _stacks(texts)), [])
    evidence = [record for record, text in zip(lines, texts, strict=True) if text.strip()]
    return Report(side, tool, what, tuple(own[:3]), tuple(evidence[:_LINES]))


def _stacks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Functions of each stack, the innermost first, allocators left out."""
    found: list[str] = []
    for text in texts:
        if frame := _FRAME.match(text):
            if frame["number"] == "0":
                yield found
                found = []
            found += [] if _ALLOCATOR.match(frame["function"]) else [frame["function"]]
    yield found


def _has_quit(evidence: Evidence, side: Side) -> bool:
    """Whether it was asked to quit with its migration over, and then ended by itself."""
    exited, endings = evidence.endings.exited[side], evidence.endings
    return (
        exited is not None
        and not exited.args.signal
        and bool(endings.commands(side, "quit"))
        and not evidence.of(Signalled, side)
        and not any(record.side is side for record in endings.hung)
        and endings.status(side) in _OVER
    )
