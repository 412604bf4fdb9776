"""What is reported: the runs, and each requirement over all runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import PROGRAM
from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import INTERRUPTED, LOST, USAGE, CannotRunHere, PrerequisiteMissing
from harness.history.rundir import SCENARIO, Manifest
from harness.report.format import ranges
from harness.scenario import Scenario

if TYPE_CHECKING:
    from harness.check.deviations import Deviation
    from harness.measure.measured import Measured

_WORST_FIRST = (Outcome.VIOLATED, Outcome.UNKNOWN, Outcome.VALID)


def show_again(known: Deviation) -> tuple[str, ...]:
    """The command that reproduces a known deviation."""
    return (PROGRAM, "repro", known.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run: judged, or lost with ``error``."""

    name: str
    path: Path | None = None
    """Its run directory.  None if there is none."""
    manifest: Manifest | None = None
    scenario: Scenario | None = None
    verdict: Verdict | None = None
    measured: Measured | None = None
    error: str = ""
    error_status: int = LOST
    """Exit status of the error: LOST, or USAGE if trying again does not help."""
    missing: bool = False
    """Whether this machine or build lacks something that the run needs."""
    cannot_run: bool = False
    """Whether only this scenario needs what is missing; another scenario may run."""
    left_out: str = ""
    """Why the main job left it out: what this machine or build lacks.  Empty if it was run."""
    seconds: float | None = None
    known: Deviation | None = None
    """The intermittent known deviation that interrupted it.  None if none did."""
    explained: Mapping[str, Deviation] = field(default_factory=dict)
    """The known deviation behind each violation that has one, by requirement."""
    stuck: tuple[str, ...] = ()
    """Where it is stuck (``report.stuck``).  Empty if the migration ended."""
    replay: tuple[str, ...] = ()
    """Arguments of the ``replay`` command that repeats it.  Empty if it was no replay."""
    no_capture: str = ""
    """Why there is no capture although one was requested."""

    @classmethod
    def lost(
        cls,
        name: str,
        path: Path | None,
        words: str,
        status: int,
        error: Exception,
        seconds: float | None,
    ) -> Entry:
        """A run that ended with ``error``: its text is ``words``, its exit status ``status``."""
        return cls(
            name=name,
            path=path,
            error=words,
            error_status=status,
            missing=isinstance(error, PrerequisiteMissing),
            cannot_run=isinstance(error, CannotRunHere),
            seconds=seconds,
        )

    def as_left_out(self) -> Entry:
        """The same, as a run that the job left out."""
        return replace(self, error="", missing=False, left_out=self.error)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of its verdict.  None if the run was lost."""
        return self.verdict.overall if self.verdict is not None else None

    @property
    def exit_status(self) -> int:
        """0 valid or interrupted by a known deviation, 1 violated, 2 unknown, 3 lost, 4 usage."""
        if self.known is not None or self.left_out:
            return 0
        return self.verdict.exit_status if self.verdict is not None else self.error_status

    @property
    def deviations(self) -> dict[str, list[str]]:
        """Names of the known deviations that it met, each with the requirements that it breaks."""
        if self.known is not None:
            return {self.known.name: [self.known.requirement]}
        names: dict[str, list[str]] = {}
        for requirement, deviation in self.explained.items():
            names.setdefault(deviation.name, []).append(requirement)
        return names

    @property
    def recheck(self) -> tuple[str, ...]:
        """The command that judges it again."""
        return (PROGRAM, "recheck", str(self.path)) if self.path is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One requirement over all runs.

    :ivar outcome: the worst of all runs.  None if no run judged it
    :ivar findings: by the run's number, from 1
    :ivar met: known deviations that kept a run from judging it, by the run's number
    :ivar why_not: why it is not applicable to the first run, if it is applicable to none
    """

    requirement: str
    title: str
    outcome: Outcome | None
    findings: dict[int, Finding] = field(default_factory=dict)
    met: dict[int, Deviation] = field(default_factory=dict)
    why_not: str = ""

    def runs(self, outcome: Outcome) -> list[int]:
        """Numbers of the runs with ``outcome``."""
        return [number for number, found in self.findings.items() if found.outcome is outcome]

    @property
    def why_not_judged(self) -> str:
        """The known deviations that kept all runs from judging it.  Empty if one run judged it, or
        if it is applicable to no run.
        """
        if self.findings:
            return ""
        runs: dict[str, list[int]] = {}
        for number, known in self.met.items():
            runs.setdefault(known.name, []).append(number)
        return " and ".join(
            f"met the known deviation {name} in run{'s' * (len(numbers) > 1)} {ranges(numbers)}"
            for name, numbers in runs.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All runs of one call.

    :ivar titles: of all requirements, in the order of the report
    :ivar run_options: of the command line, needed to repeat a run beyond its scenario
    :ivar interrupted: which run was interrupted, as text.  Empty if none was
    :ivar stopped: the bad run after which no other was made, as text.  Empty if all were made
    :ivar interrupted_status: the exit status, by the signal that interrupted it
    :ivar removed: run directories that are removed after the report
    """

    entries: tuple[Entry, ...]
    titles: Mapping[str, str]
    run_options: tuple[str, ...] = ()
    interrupted: str = ""
    stopped: str = ""
    interrupted_status: int = INTERRUPTED
    removed: frozenset[Path] = frozenset()

    @property
    def exit_status(self) -> int:
        """The worst of all runs.  Lost is worse than violated: its results are unknown."""
        if self.interrupted:
            return self.interrupted_status
        statuses = {entry.exit_status for entry in self.entries}
        if not any(row.outcome for row in self.rows()):
            statuses.add(2)  # nothing was judged: that is never valid
        return next((status for status in (USAGE, LOST, 1, 2) if status in statuses), 0)

    @property
    def lost(self) -> list[Entry]:
        """Runs that could not be made or judged."""
        return [e for e in self.entries if e.verdict is None and not e.left_out]

    def conclusion(self) -> tuple[Outcome | None, tuple[str, ...]]:
        """The outcome of all runs, and sentences about it: a summary, then what was not judged.

        The outcome is None if runs were lost or interrupted.
        """
        rows = list(self.rows())
        ids = {
            outcome: ", ".join(row.requirement for row in rows if row.outcome is outcome)
            for outcome in Outcome
        }
        count = len(self.entries)
        of = f"of {count} run{'s' if count != 1 else ''}"
        lost = f"{len(self.lost)} {of} LOST: their results are unknown."
        known = sum(bool(entry.deviations) for entry in self.entries)
        names = dict.fromkeys(name for entry in self.entries for name in entry.deviations)
        more = [f"{known} {of} met a known deviation: {', '.join(names)}."] if known else []
        left_out = sum(bool(entry.left_out) for entry in self.entries)
        more += [f"{left_out} {of} left out: cannot run here."] if left_out else []
        left = [row.requirement for row in rows if row.why_not_judged]
        more += [f"Not judged: {', '.join(left)}."] if left else []
        more += [f"Stopped after {self.stopped}."] if self.stopped else []
        outcome: Outcome | None = None
        if self.interrupted:
            first = f"INTERRUPTED: {self.interrupted}."
            more = [self._judged_before()]
        elif ids[Outcome.VIOLATED]:
            outcome, first = Outcome.VIOLATED, f"VIOLATED: {ids[Outcome.VIOLATED]}."
            more += [lost] if self.lost else []
        elif self.lost:
            first = lost
        elif ids[Outcome.UNKNOWN]:
            outcome, first = Outcome.UNKNOWN, f"Unknown: {ids[Outcome.UNKNOWN]}."
        elif ids[Outcome.VALID]:
            valid = sum(row.outcome is Outcome.VALID for row in rows)
            judged, what = count - left_out, "judged" if left else "applicable"
            runs = f"{judged} run{'s' if judged != 1 else ''}"
            noun = "requirements" if valid != 1 else "requirement"
            outcome, first = Outcome.VALID, f"Valid: all {valid} {what} {noun}, in {runs}."
        else:
            outcome, first = Outcome.UNKNOWN, "Nothing was judged."
        return outcome, (first, *more)

    def _judged_before(self) -> str:
        """The verdicts that an interrupted job has."""
        judged = [entry for entry in self.entries if entry.verdict is not None]
        if not judged:
            return "No run was judged before."
        parts = []
        for outcome in _WORST_FIRST:
            names = [entry.name for entry in judged if entry.outcome is outcome]
            if names and outcome is Outcome.VALID:
                parts.append(f"{len(names)} valid")
            elif names:
                word = "VIOLATED" if outcome is Outcome.VIOLATED else str(outcome)
                parts.append(f"{len(names)} {word} ({', '.join(names)})")
        runs = f"{len(judged)} run{'s were' if len(judged) != 1 else ' was'}"
        return f"{runs} judged before: {'; '.join(parts)}."

    def repeat(self, entry: Entry) -> tuple[str, ...]:
        """The command that repeats the run."""
        if entry.path is None:
            return ()
        if entry.replay:
            return (PROGRAM, "replay", *entry.replay, *self.run_options)
        return (PROGRAM, "run", str(entry.path / SCENARIO), *self.run_options)

    def rows(self) -> Iterator[Row]:
        """Each requirement, in order."""
        for requirement, title in self.titles.items():
            findings: dict[int, Finding] = {}
            met: dict[int, Deviation] = {}
            why_not = ""
            for number, entry in enumerate(self.entries, 1):
                if entry.verdict is None:
                    continue
                found = entry.verdict.finding(requirement)
                if found is not None and entry.known is not None:
                    met[number] = entry.known
                elif found is not None:
                    findings[number] = found
                else:
                    why_not = why_not or entry.verdict.not_applicable.get(requirement, "")
            outcomes = {found.outcome for found in findings.values()}
            yield Row(
                requirement=requirement,
                title=title,
                outcome=next((o for o in _WORST_FIRST if o in outcomes), None),
                findings=findings,
                met=met,
                why_not="" if findings or met else why_not,
            )
