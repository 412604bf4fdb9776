"""The report on a terminal: runs, requirements, findings, and what to do next.

The text is complete without colour.  It fits 80 columns: sentences wrap, paths and commands
never do, so that they can be copied.
"""

import os
import shlex
from collections.abc import Iterable, Mapping

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from harness.check.deviations import Deviation
from harness.check.verdict import Finding, Outcome
from harness.history.rundir import BY_HAND
from harness.report.format import (
    LEFT_OUT,
    OUTCOMES,
    build_text,
    figures_text,
    moment,
    ranges,
    record_text,
)
from harness.report.summary import Entry, Report, Row, show_again

_STYLES = {
    Outcome.VALID: Style(color="green"),
    Outcome.VIOLATED: Style(color="red", bold=True),
    Outcome.UNKNOWN: Style(color="yellow"),
    None: Style(color="magenta", bold=True),
}
_DIM = Style(dim=True)
_BOLD = Style(bold=True)
_WORD_WIDTH = 9


class _Console(Console):
    """rich's own exits with status 1, which means a violation here, if the reader is gone."""

    def on_broken_pipe(self) -> None:
        """Raise, so that the caller decides."""
        raise BrokenPipeError


def console(*, is_plain: bool = False) -> Console:
    """Standard output; ``is_plain``: without control sequences, whatever the environment says."""
    no_colour = is_plain or "NO_COLOR" in os.environ
    return _Console(
        highlight=False,
        markup=False,
        emoji=False,
        no_color=no_colour or None,
        force_terminal=False if is_plain else None,
    )


def print_run(out: Console, number: int, entry: Entry) -> None:
    """One line about one run."""
    took = f"{entry.seconds:6.2f} s" if entry.seconds is not None else " " * 8
    line = Text.assemble(
        f"{number:>3}  ",
        (
            f"{_word(entry):<{_WORD_WIDTH}}",
            _STYLES[Outcome.UNKNOWN if entry.known or entry.left_out else entry.outcome],
        ),
        f"{took}  ",
        str(entry.path or entry.name),
    )
    out.print(line, soft_wrap=True)


def _word(entry: Entry) -> str:
    if entry.left_out:
        return LEFT_OUT
    return "known" if entry.known is not None else OUTCOMES[entry.outcome]


def print_report(out: Console, report: Report, *, runs_printed: bool) -> None:
    """The complete report; ``runs_printed``: each run's line was printed as it ended."""
    if not runs_printed:
        for number, entry in enumerate(report.entries, 1):
            print_run(out, number, entry)
    if any(entry.verdict is not None for entry in report.entries):
        out.print()
        _print_builds(out, report.entries)
        _print_unknown_ioctls(out, report.entries)
    if any(entry.verdict is not None and entry.known is None for entry in report.entries):
        out.print()
        _print_requirements(out, report)
    for number, entry in enumerate(report.entries, 1):
        _print_findings(out, report, number, entry)
    _print_left_out(out, report)
    _print_lost(out, report)
    out.print()
    _print_end(out, report)


def _print_builds(out: Console, entries: Iterable[Entry]) -> None:
    """Which QEMUs; one line if all runs used the same."""
    seen: dict[str, None] = {}
    for entry in entries:
        if entry.manifest is not None:
            source, destination = map(
                build_text, (entry.manifest.source, entry.manifest.destination)
            )
            if source == destination:
                seen[f"source and destination: {source}"] = None
            else:
                seen[f"source: {source}"] = seen[f"destination: {destination}"] = None
    for line in seen:
        out.print(line, soft_wrap=True)


def _print_unknown_ioctls(out: Console, entries: Iterable[Entry]) -> None:
    """The ioctls of a QEMU that the emulated devices do not implement."""
    found = {
        name
        for entry in entries
        if entry.verdict is not None and (run := entry.verdict.finding("RUN")) is not None
        for name in str(run.numbers.get("unknown_ioctls", "")).split(", ")
        if name
    }
    if found:
        names = ", ".join(sorted(found))
        _print(out, Text(f"ioctls not implemented by the emulated device (ENOTTY): {names}.", _DIM))


# -- requirements ------------------------------------------------------------------------


def _print_requirements(out: Console, report: Report) -> None:
    """A row for each requirement that was judged; then the others, with the reason."""
    is_single = len(report.entries) == 1
    table = Table(box=None, pad_edge=False, header_style=_BOLD, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("requirement", ratio=1)
    table.add_column("verdict", no_wrap=True)
    if not is_single:
        table.add_column("in run", max_width=16)
    rows = list(report.rows())
    for row in rows:
        if row.outcome is not None:
            words = _measured(row) if is_single else Text(row.title)
            verdict = Text(OUTCOMES[row.outcome], _STYLES[row.outcome])
            table.add_row(row.requirement, words, verdict, *(() if is_single else (_where(row),)))
    _print(out, table)
    _print_others(out, "Not judged", {r.requirement: r.why_not_judged for r in rows})
    left = [row for row in rows if row.outcome is None and not row.why_not_judged]
    _print_others(out, "Not applicable", {row.requirement: row.why_not for row in left})


def _print_others(out: Console, what: str, reasons: Mapping[str, str]) -> None:
    """Requirements that have a reason, those with the same reason together."""
    others: dict[str, list[str]] = {}
    for requirement, why in reasons.items():
        if why:
            others.setdefault(why, []).append(requirement)
    if others:
        named = "; ".join(f"{', '.join(ids)} ({why})" for why, ids in others.items())
        _print(out, Text(f"{what}: {named}.", _DIM))


def _measured(row: Row) -> Text:
    """The title, and the figures of the only run."""
    figures = figures_text(next(iter(row.findings.values())).numbers)
    return Text.assemble(row.title, *((("\n", ""), (figures, _DIM)) if figures else ()))


def _where(row: Row) -> str:
    """Numbers of the runs with this verdict, then those with another one."""
    found = [(outcome, row.runs(outcome)) for outcome in Outcome]
    others = [f"{o}: {ranges(runs)}" for o, runs in found if runs and o is not row.outcome]
    return "\n".join((*(ranges(runs) for o, runs in found if o is row.outcome), *others))


def _print(out: Console, what: RenderableType) -> None:
    """Print it without the blanks at the ends of lines."""
    with out.capture() as captured:
        out.print(what)
    for line in captured.get().splitlines():
        out.file.write(f"{line.rstrip()}\n")


# -- findings ----------------------------------------------------------------------------


def _print_findings(out: Console, report: Report, number: int, entry: Entry) -> None:
    """The findings of one run that are not valid: violated first, then unknown."""
    where = f"in run {number}, {entry.name}" if len(report.entries) > 1 else f"in {entry.name}"
    if entry.verdict is None:
        return
    if entry.known is not None:
        _print_known(out, report, where, entry, entry.known)
        return
    unknown: dict[str, list[Finding]] = {}
    has_printed = False
    for finding in entry.verdict.findings:
        if finding.outcome is Outcome.VIOLATED:
            out.print()
            _print_violated(out, report, where, entry, finding)
            has_printed = True
        elif finding.outcome is Outcome.UNKNOWN:
            unknown.setdefault(finding.sentence, []).append(finding)
    for sentence, findings in unknown.items():
        out.print()
        ids = ", ".join(finding.requirement for finding in findings)
        word = (OUTCOMES[Outcome.UNKNOWN], _STYLES[Outcome.UNKNOWN])
        _print(out, Text.assemble((f"{ids} ", _BOLD), word, f" {where}"))
        _paragraph(out, sentence)
        has_printed = True
    if has_printed:
        _print_stuck(out, entry)
        _print_commands(out, report, entry)


def _print_stuck(out: Console, entry: Entry) -> None:
    """Where a run that did not end is stuck."""
    if entry.stuck:
        out.print()
        _print(out, Text(f"{entry.name} is stuck:", _BOLD))
        for sentence in entry.stuck:
            _paragraph(out, sentence)


def _print_known(out: Console, report: Report, where: str, entry: Entry, known: Deviation) -> None:
    """A run that a known deviation interrupted: the deviation, and where the evidence is."""
    out.print()
    word = ("known deviation", _STYLES[Outcome.UNKNOWN])
    _print(out, Text.assemble((f"{known.requirement} ", _BOLD), word, f" {where}: {known.case}"))
    _print_deviation(out, known)
    _print_stuck(out, entry)
    _print_commands(out, report, entry)


def _print_violated(
    out: Console, report: Report, where: str, entry: Entry, finding: Finding
) -> None:
    """The requirement, what was seen instead, and the records that contradict the requirement."""
    word = (OUTCOMES[finding.outcome], _STYLES[finding.outcome])
    title = report.titles.get(finding.requirement, "")
    _print(out, Text.assemble((f"{finding.requirement} ", _BOLD), word, f" {where}: {title}"))
    _paragraph(out, finding.sentence)
    if finding.evidence and entry.manifest is not None:
        records = Table.grid(padding=(0, 2, 0, 0))
        records.add_column(no_wrap=True, justify="right")
        records.add_column(overflow="fold")
        for record in sorted(finding.evidence, key=lambda record: record.t_ns):
            when = Text(moment(record, entry.manifest.started_ns), _DIM)
            records.add_row(when, record_text(record))
        _print(out, Padding(records, (0, 0, 0, 4)))
    if (known := entry.explained.get(finding.requirement)) is not None:
        _print_deviation(out, known)


def _print_deviation(out: Console, known: Deviation) -> None:
    """The known deviation: its name, its cause, and the command that reproduces it."""
    out.print(Text(f"    known deviation: {known.name}"), soft_wrap=True)
    fixed = f"; fixed by {known.fixed_by}" if known.fixed_by else ""
    _paragraph(out, f"cause: {known.cause}{fixed}")
    out.print(Text(f"    reproduce with: {shlex.join(show_again(known))}"), soft_wrap=True)


def _print_left_out(out: Console, report: Report) -> None:
    """The scenarios that cannot run here; those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for entry in report.entries:
        if entry.left_out:
            reasons.setdefault(entry.left_out, []).append(entry.name)
    for why, names in reasons.items():
        out.print()
        _print(out, Text(f"Left out: {', '.join(names)}"))
        _paragraph(out, why)


def _print_lost(out: Console, report: Report) -> None:
    """The lost runs; those with the same error together."""
    lost: dict[str, list[int]] = {}
    for number, entry in enumerate(report.entries, 1):
        if entry.verdict is None and not entry.left_out:
            lost.setdefault(entry.error, []).append(number)
    for error, numbers in lost.items():
        out.print()
        runs = f"run{'s' if len(numbers) > 1 else ''} {ranges(numbers)}"
        where = f" in {runs} (says nothing about QEMU)"
        _print(out, Text.assemble((OUTCOMES[None], _STYLES[None]), where))
        _paragraph(out, error)
        if len(numbers) == 1:
            _print_commands(out, report, report.entries[numbers[0] - 1])


def _paragraph(out: Console, words: str) -> None:
    _print(out, Padding(Text(words), (0, 0, 0, 4)))


def _print_commands(out: Console, report: Report, entry: Entry) -> None:
    """The run directory, and the commands that judge and repeat the run."""
    if entry.path is None:
        return
    commands: list[tuple[str, str]] = [("directory", f"{entry.path}/")]
    if entry.verdict is not None:
        commands.append(("judge again", shlex.join(entry.recheck)))
    commands.append(("run again", shlex.join(report.repeat(entry))))
    if (entry.path / BY_HAND).exists():
        commands.append(("by hand", shlex.quote(str(entry.path / BY_HAND))))
    for what, command in commands:
        out.print(Text.assemble((f"    {what:<12}", _DIM), command), soft_wrap=True)


# -- the end -----------------------------------------------------------------------------


def _print_end(out: Console, report: Report) -> None:
    """The conclusion, which the exit status repeats, and what can be done next."""
    outcome, sentences = report.conclusion()
    for sentence in sentences:
        out.print(Text(sentence, _STYLES[outcome]) if sentence is sentences[0] else sentence)
    judged = any(row.outcome is Outcome.VALID for row in report.rows())
    runs = len(report.entries)
    if report.exit_status == 0 and runs == 1 and judged:
        _print_commands(out, report, report.entries[0])
    elif report.exit_status == 0 and judged:
        out.print("Judge a run again: vfio-multifd recheck RUN", soft_wrap=True)
        out.print("Run it again:      vfio-multifd run RUN/scenario.json", soft_wrap=True)
        out.print(f"By hand:           RUN/{BY_HAND}", soft_wrap=True)
