"""Findings, records and figures as plain text, for all forms of the report."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.check.verdict import Outcome
from harness.history import Kind, Record, plain
from harness.history.builds import BuildFacts

OUTCOMES = {
    Outcome.VALID: "valid",
    Outcome.VIOLATED: "VIOLATED",
    Outcome.UNKNOWN: "unknown",
    None: "LOST",
}
"""An outcome as it is printed.  None if the run was lost."""
LEFT_OUT = "left out"
"""A scenario of the main job that cannot run here, as it is printed."""

_LONGEST_LINE = 200
_MOST_LINES = 16
_UNITS = ("ms", "us", "s", "bytes", "kib", "mib")


def moment(record: Record, started_ns: int) -> str:
    """When it was recorded, since the start of the run."""
    return f"{(record.t_ns - started_ns) / 1e9:+.6f} s"


def record_text(record: Record) -> str:
    """One line: side, device, channel, thread, name and arguments."""
    where = [str(record.side)]
    if record.device:
        where.append(record.device)
    if record.channel >= 0:
        where.append(f"channel {record.channel}")
    if record.tid:
        where.append(f"thread {record.tid}")
    name, args = record.name, dict(plain(record))
    if record.kind is Kind.QMP and name in ("execute", "return", "error"):
        name = f"{args.pop('command', '')} {name}".strip()
    elif record.kind is Kind.TRACE and record.device:
        args.pop("name", None)  # QEMU's name of the device; ours is in ``where``
    values = ", ".join(f"{key} {_value(value)}" for key, value in args.items())
    what = f"{record.kind} {name}"
    return f"{' '.join(where)}: {what}{': ' if values else ''}{values}"


def figures_text(numbers: Mapping[str, Any]) -> str:
    """Figures of a finding: ``loads 16, longest wait 0.2 ms``."""
    return ", ".join(_number(key, value) for key, value in numbers.items() if value not in ({}, ""))


def _number(key: str, value: Any) -> str:
    words, unit = key.split("_"), ""
    if len(words) > 1 and words[-1] in _UNITS:
        unit = f" {words.pop()}"
    return f"{' '.join(words)} {_listed(value)}{unit}"


def _listed(value: Any) -> str:
    """A value; a mapping as ``vfio0 (0 5, 1 4), vfio1 (...)``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(
        f"{key} ({_listed(inner)})" if isinstance(inner, Mapping) else f"{key} {inner}"
        for key, inner in value.items()
    )


def build_text(facts: BuildFacts) -> str:
    """Version and path of a QEMU."""
    version = facts.version_text or "of unknown version"
    return f"QEMU {version}, {facts.path or 'no path'}"


def ranges(numbers: Iterable[int]) -> str:
    """``1-4, 7`` for 1, 2, 3, 4, 7."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _value(value: Any) -> str:
    """The value; a long one is cut, with a note that the history has all of it."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    lines = text.strip().splitlines()
    if len(lines) > 1:
        shown = lines[:_MOST_LINES]
        if len(lines) > len(shown):
            shown.append(f"... ({len(lines)} lines, all in history.jsonl)")
        return "".join(f"\n  {line}" for line in shown)
    if len(text) <= _LONGEST_LINE:
        return text
    return f"{text[:_LONGEST_LINE]}... ({len(text)} characters, all in history.jsonl)"
