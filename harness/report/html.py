"""The report as one HTML file that needs nothing else: no network, no script, no font.

The template next to this file has the texts and the styles, ``charts`` makes the drawings.  The
file stays below a few MB: charts are of bounded size, lists are cut with a note, and when the runs
have used their share, valid runs are without charts.
"""

import json
import os
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

import harness
from harness.check.verdict import Finding, Outcome
from harness.history import Kind, Record, Side, plain, process, rundir, session
from harness.history.by_type import ByType
from harness.history.rundir import History, Manifest
from harness.measure.measured import measured
from harness.measure.timeline import Downtime, Timeline, Wait, timeline
from harness.report.charts import Chart, charts, duration
from harness.report.format import (
    LEFT_OUT,
    OUTCOMES,
    build_text,
    figures_text,
    moment,
    ranges,
    record_text,
)
from harness.report.summary import Entry, Report, Row

_TEMPLATE = Path(__file__).with_suffix(".html.j2")
_BUDGET: Final = 3_000_000
"""Characters of all drawings and command lists."""
_MOST_RECORDS: Final = 50
_MOST_COMMANDS: Final = 100
_LONGEST_WAITS: Final = 10
_FILES: Final = (
    rundir.MANIFEST,
    rundir.SCENARIO,
    rundir.HISTORY,
    rundir.VERDICT,
    rundir.BY_HAND,
    rundir.CAPTURE,
    rundir.SOURCE_TRACE,
    rundir.DESTINATION_TRACE,
    rundir.SOURCE_STDERR,
    rundir.DESTINATION_STDERR,
)
_ASKING: Final = ("query-", "qom-get", "device-list-properties", "trace-event-get-state", "quit")
_KNOWN: Final = "known deviation"


@dataclass(frozen=True, slots=True)
class _Cell:
    """One requirement in all runs with one pair of builds."""

    word: str
    style: str
    detail: str
    first: int
    is_all_valid: bool


@dataclass(frozen=True, slots=True)
class _Build:
    """A column of the matrix: one pair of builds, and the runs with it."""

    name: str
    lines: tuple[str, ...]
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Wait:
    device: str
    idx: int
    when: str
    lasted: str
    channel: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is rendered from the history of a run."""

    charts: tuple[Chart, ...]
    downtime: tuple[tuple[str, str], ...]
    waits: tuple[_Wait, ...]
    highest: tuple[str, ...]
    launched: tuple[tuple[Side, str], ...]
    commands: tuple[str, ...]
    faults: tuple[str, ...]
    actions: tuple[str, ...]


def render(report: Report, histories: Mapping[Path, History], *, folder: Path) -> str:
    """The document.

    :param histories: of the runs, by ``Entry.path``.  Each is used once and not kept, so a mapping
        that loads them on use needs memory for one.  A run without a history has no timeline and
        no commands
    :param folder: the folder of the document: links to files are relative to it
    """
    numbered = list(enumerate(report.entries, 1))
    # Valid runs come last: they are cut if the budget is used up.
    by_need = sorted(numbered, key=lambda pair: pair[1].outcome is Outcome.VALID)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    module: Any = environment.from_string(_TEMPLATE.read_text()).module
    drawn: dict[int, str] = {}
    left = _BUDGET
    for number, entry in by_need:
        history = histories.get(entry.path) if entry.path is not None and left > 0 else None
        if history is not None:
            drawn[number] = module.drawn(_drawn(history))  # which is marked as safe
            left -= len(drawn[number])
    builds = list(_builds(report.entries))
    return str(
        module.page(
            report=report,
            version=harness.__version__,
            summary=_summary(report),
            builds=builds,
            rows=[(row, _cells(row, builds)) for row in report.rows()],
            runs=[_run(report, number, entry, folder) for number, entry in numbered],
            drawn=drawn,
        )
    )


# -- all runs ----------------------------------------------------------------------------


def _summary(report: Report) -> tuple[str, str]:
    """Style and sentences of the conclusion."""
    outcome, sentences = report.conclusion()
    return outcome or "lost", " ".join(sentences)


def _builds(entries: Iterable[Entry]) -> Iterator[_Build]:
    """The pairs of builds in the order of the runs."""
    found: dict[tuple[str, ...], list[int]] = {}
    manifests: dict[tuple[str, ...], Manifest] = {}
    for number, entry in enumerate(entries, 1):
        if (manifest := entry.manifest) is not None:
            source, destination = manifest.source, manifest.destination
            key = (source.path, source.version_text, destination.path, destination.version_text)
            found.setdefault(key, []).append(number)
            manifests[key] = manifest
    for pair, numbers in found.items():
        source, destination = manifests[pair].source, manifests[pair].destination
        versions = [".".join(map(str, build.version)) for build in (source, destination)]
        words = build_text(source), build_text(destination)
        if pair[:2] == pair[2:]:
            yield _Build(versions[0], (f"source and destination: {words[0]}",), tuple(numbers))
        else:
            name = f"{versions[0]} \N{RIGHTWARDS ARROW} {versions[1]}"
            lines = f"source: {words[0]}", f"destination: {words[1]}"
            yield _Build(name, lines, tuple(numbers))


def _cells(row: Row, builds: Iterable[_Build]) -> list[_Cell | None]:
    """One for each column.  None if it is applicable to no run with these builds."""
    findings = row.findings
    cells: list[_Cell | None] = []
    for build in builds:
        runs = {outcome: _which(findings, build.runs, outcome) for outcome in Outcome}
        worst = next(
            (o for o in (Outcome.VIOLATED, Outcome.UNKNOWN, Outcome.VALID) if runs[o]), None
        )
        known = [number for number in build.runs if number in row.met]
        parts = [(str(outcome), runs[outcome]) for outcome in Outcome if runs[outcome]]
        for name in dict.fromkeys(row.met[number].name for number in known):
            runs_of = [number for number in known if row.met[number].name == name]
            parts.append((f"not judged, met the {_KNOWN} {name}", runs_of))
        detail = "; ".join(f"{what}: {_runs(numbers)}" for what, numbers in parts)
        if worst is None and not known:
            cells.append(None)
        elif worst is None:
            cells.append(_Cell("not judged", "unknown", detail, known[0], False))
        else:
            is_all_valid = worst is Outcome.VALID and not known
            first = runs[worst][0]
            cells.append(_Cell(OUTCOMES[worst], worst, detail, first, is_all_valid))
    return cells


def _which(findings: Mapping[int, Finding], runs: Iterable[int], outcome: Outcome) -> list[int]:
    return [n for n in runs if n in findings and findings[n].outcome is outcome]


def _runs(numbers: list[int]) -> str:
    return f"run{'s' if len(numbers) > 1 else ''} {ranges(numbers)}"


# -- one run -----------------------------------------------------------------------------


def _run(report: Report, number: int, entry: Entry, folder: Path) -> dict[str, Any]:
    """The parts of a run that need no history."""
    findings = entry.verdict.findings if entry.verdict is not None else ()
    commands: list[tuple[str, str]] = []
    path = entry.path if entry.path not in report.removed else None
    if path is not None:
        commands.append(("Run again", shlex.join(report.repeat(entry))))
        if entry.verdict is not None:
            commands.append(("Judge again", shlex.join(entry.recheck)))
    if entry.known is not None:
        word, style = _KNOWN, "unknown"
    elif entry.left_out:
        word, style = LEFT_OUT, "unknown"
    else:
        word, style = OUTCOMES[entry.outcome], entry.outcome or "lost"
    return {
        "number": number,
        "entry": entry,
        "word": word,
        "style": style,
        "builds": _run_builds(entry.manifest),
        "bad": [
            (finding, report.titles.get(finding.requirement, ""), *_records(finding, entry))
            for outcome in (Outcome.VIOLATED, Outcome.UNKNOWN)
            for finding in findings
            if finding.outcome is outcome
        ],
        "good": [
            (finding, report.titles.get(finding.requirement, ""), figures_text(finding.numbers))
            for finding in findings
            if finding.outcome is Outcome.VALID
        ],
        "commands": commands,
        "files": list(_links(path, folder)) if path is not None else [],
    }


def _run_builds(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return []
    source, destination = manifest.source, manifest.destination
    machine = f", machine {source.machine}" if source.machine else ""
    if build_text(source) == build_text(destination):
        return [f"Source and destination: {build_text(source)}{machine}"]
    return [f"Source: {build_text(source)}{machine}", f"Destination: {build_text(destination)}"]


def _records(finding: Finding, entry: Entry) -> tuple[list[tuple[str, str]], int]:
    """Time and text of the records that contradict the requirement; how many were left out."""
    started_ns = entry.manifest.started_ns if entry.manifest is not None else 0
    evidence = sorted(finding.evidence, key=lambda record: record.t_ns)
    lines = [(moment(record, started_ns), record_text(record)) for record in evidence]
    return lines[:_MOST_RECORDS], max(0, len(lines) - _MOST_RECORDS)


def _links(path: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Name and address of each file in the run directory."""
    for name in _FILES:
        if (path / name).exists():
            yield name, urllib.parse.quote(os.path.relpath(path / name, folder))


# -- from the history --------------------------------------------------------------------


def _drawn(history: History) -> _Drawn:
    times = timeline(history)
    started_ns = history.manifest.started_ns
    return _Drawn(
        charts=tuple(charts(times, started_ns)),
        downtime=tuple(_downtime(times.downtime, history)) if times.downtime is not None else (),
        waits=tuple(_longest(times, started_ns)),
        highest=tuple(_highest(times)),
        launched=tuple(_launched(history.records)),
        commands=tuple(_commands(history.records)),
        faults=tuple(_faults(history)),
        actions=tuple(_actions(history)),
    )


def _downtime(downtime: Downtime, history: History) -> Iterator[tuple[str, str]]:
    """The downtime, its parts, and QEMU's own figure."""
    if downtime.resumed is None:
        yield "downtime", "did not end: neither side ran the guest again"
    else:
        total = duration(downtime.begin_ns, downtime.end_ns)
        yield f"source's STOP to {downtime.resumed}'s RESUME", total
    for part in downtime.parts:
        yield part.what, duration(part.begin_ns, part.end_ns)
    if (qemu_ms := measured(history).qemu_downtime_ms) is not None:
        yield "by the source's query-migrate", f"{qemu_ms:g} ms"


def _longest(times: Timeline, started_ns: int) -> Iterator[_Wait]:
    """The longest waits of all devices: those without an end, then the longest."""

    def length(pair: tuple[str, Wait]) -> float:
        end_ns = pair[1].end_ns
        return float("inf") if end_ns is None else end_ns - pair[1].begin_ns

    waits = [(story.device, wait) for story in times.devices for wait in story.waits]
    for device, wait in sorted(waits, key=length, reverse=True)[:_LONGEST_WAITS]:
        yield _Wait(
            device,
            wait.idx,
            f"{(wait.begin_ns - started_ns) / 1e9:+.6f} s",
            duration(wait.begin_ns, wait.end_ns),
            f"channel {wait.channel}" if wait.channel >= 0 else "never arrived",
        )


def _highest(times: Timeline) -> Iterator[str]:
    """Peaks of queues and memory."""
    for story in times.devices:
        if queue := story.queue():
            yield f"{story.device}: at most {max(d for _, d in queue)} packets queued"
    for side in (Side.SOURCE, Side.DESTINATION):
        if seen := [memory.highest_kib for memory in times.memory if memory.side is side]:
            yield f"{side}: at most {max(seen) / 1024:.1f} MiB resident"


def _faults(history: History) -> Iterator[str]:
    """The faults of the plan, each with how often it fired."""
    found = ByType(history.records).of(session.Faults)
    fired = found[-1].args.fired if found else []
    for number, fault in enumerate(history.scenario.faults):
        count = f" (fired: {fired[number]})" if number < len(fired) else ""
        yield f"{number + 1}. {fault.describe()}{count}"


def _actions(history: History) -> Iterator[str]:
    found = ByType(history.records).of(session.Actions)
    done = found[-1].args.done if found else []
    for number, action in enumerate(history.scenario.actions):
        word = ("done" if done[number] else "not done") if number < len(done) else ""
        yield f"{number + 1}. {action.describe()}{f' ({word})' if word else ''}"


def _launched(records: Iterable[Record]) -> Iterator[tuple[Side, str]]:
    """Each QEMU's command line, an option and its value on one line."""
    for record in records:
        if isinstance(record.args, process.Launched):
            text = ""
            for word in record.args.argv:
                text += (" \\\n  " if word.startswith("-") else " ") + shlex.quote(word)
            yield record.side, text.strip()


def _commands(records: Iterable[Record]) -> Iterator[str]:
    """The QMP commands that were sent, in their order, without queries."""
    sent = [
        record
        for record in records
        if record.kind is Kind.QMP
        and record.name == "execute"
        and not str(plain(record).get("command", "")).startswith(_ASKING)
    ]
    for record in sent[:_MOST_COMMANDS]:
        args = plain(record)
        command = {"execute": args.get("command")}
        if arguments := args.get("arguments"):
            command["arguments"] = arguments
        yield f"{record.side}: {json.dumps(command)}"
    if len(sent) > _MOST_COMMANDS:
        yield f"... and {len(sent) - _MOST_COMMANDS} more, all in {rundir.HISTORY}"
