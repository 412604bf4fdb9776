"""What is reported: the runs, and what they say together about each requirement."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.check.deviations import Deviation
from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import INTERRUPTED, LOST, USAGE, CannotRunHere, PrerequisiteMissing
from harness.history.rundir import SCENARIO, Manifest
from harness.measure.measured import Measured
from harness.report.format import ranges
from harness.scenario import Scenario

PROGRAM = "vfio-multifd"

_WORST_FIRST = (Outcome.VIOLATED, Outcome.UNKNOWN, Outcome.VALID)


def show_again(known: Deviation) -> tuple[str, ...]:
    """The command that shows a known deviation again."""
    return (PROGRAM, "repro", known.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run: judged, or lost with ``error``."""

    name: str
    path: Path | None = None
    """Its run directory; None: there is none."""
    manifest: Manifest | None = None
    scenario: Scenario | None = None
    verdict: Verdict | None = None
    measured: Measured | None = None
    error: str = ""
    error_status: int = LOST
    """Exit status of the error: LOST, or USAGE where trying again does not help."""
    missing: bool = False
    """Whether the error is about what this machine or build does not have."""
    cannot_run: bool = False
    """Whether the error is about what its scenario needs, and another may do without."""
    left_out: str = ""
    """Why the main job did without it: what this machine or build lacks; empty: it was run."""
    seconds: float | None = None
    known: Deviation | None = None
    """The intermittent known deviation that interrupted it; None: none did."""
    explained: Mapping[str, Deviation] = field(default_factory=dict)
    """The known deviation behind each violation that has one, by requirement."""
    stuck: tuple[str, ...] = ()
    """Where it stands, if it did not end (``report.stuck``)."""
    replay: tuple[str, ...] = ()
    """Arguments of the command that makes it again, if it was a replay; empty: it was none."""
    no_capture: str = ""
    """Why there is no capture although one was wanted."""

    @classmethod
    def lost(
        cls,
        name: str,
        path: Path | None,
        words: str,
        status: int,
        error: Exception,
        seconds: float | None,
    ) -> "Entry":
        """A run that was not made for ``error``, with its ``words`` and its exit ``status``."""
        return cls(
            name=name,
            path=path,
            error=words,
            error_status=status,
            missing=isinstance(error, PrerequisiteMissing),
            cannot_run=isinstance(error, CannotRunHere),
            seconds=seconds,
        )

    def as_left_out(self) -> "Entry":
        """The same as one that the job did without."""
        return replace(self, error="", missing=False, left_out=self.error)

    @property
    def outcome(self) -> Outcome | None:
        """What its verdict says; None: the run was lost."""
        return self.verdict.overall if self.verdict is not None else None

    @property
    def exit_status(self) -> int:
        """0 valid or only interrupted by what is known, 1 violated, 2 unknown, 3 lost, 4 usage."""
        if self.known is not None or self.left_out:
            return 0
        return self.verdict.exit_status if self.verdict is not None else self.error_status

    @property
    def deviations(self) -> dict[str, list[str]]:
        """Names of the known deviations that it met, and the requirements that each breaks."""
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

    :ivar outcome: the worst that any run says; None: none asks about it
    :ivar findings: by the run's number, from 1
    :ivar met: known deviations that kept a run from judging it, by the run's number
    :ivar why_not: why the first run does not ask, where none does
    """

    requirement: str
    title: str
    outcome: Outcome | None
    findings: dict[int, Finding] = field(default_factory=dict)
    met: dict[int, Deviation] = field(default_factory=dict)
    why_not: str = ""

    def runs(self, outcome: Outcome) -> list[int]:
        """Numbers of the runs that say ``outcome``."""
        return [number for number, found in self.findings.items() if found.outcome is outcome]

    @property
    def why_not_judged(self) -> str:
        """Known deviations that all runs which ask have met; "" if none asks, or one judged it."""
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

    :ivar titles: of all requirements, in the order in which they are told
    :ivar run_options: of the command line, needed to repeat a run beyond its scenario
    :ivar interrupted: which run was interrupted, in words; empty: none
    :ivar interrupted_status: the exit status, by the signal that interrupted it
    :ivar removed: run directories that will not be there when the report is read
    """

    entries: tuple[Entry, ...]
    titles: Mapping[str, str]
    run_options: tuple[str, ...] = ()
    interrupted: str = ""
    interrupted_status: int = INTERRUPTED
    removed: frozenset[Path] = frozenset()

    @property
    def exit_status(self) -> int:
        """The worst: a lost run leaves open what it would have shown."""
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
        """What the exit status says, and it in sentences: the first for all, then what it leaves
        open.  None: runs were lost or interrupted.
        """
        rows = list(self.rows())
        ids = {
            outcome: ", ".join(row.requirement for row in rows if row.outcome is outcome)
            for outcome in Outcome
        }
        count = len(self.entries)
        of = f"of {count} run{'s' if count != 1 else ''}"
        lost = f"{len(self.lost)} {of} LOST: what they would have shown is not known."
        known = sum(bool(entry.deviations) for entry in self.entries)
        names = dict.fromkeys(name for entry in self.entries for name in entry.deviations)
        more = [f"{known} {of} met a known deviation: {', '.join(names)}."] if known else []
        left_out = sum(bool(entry.left_out) for entry in self.entries)
        more += [f"{left_out} {of} left out: it cannot be run here."] if left_out else []
        left = [row.requirement for row in rows if row.why_not_judged]
        more += [f"Asked, not judged: {', '.join(left)}."] if left else []
        outcome: Outcome | None = None
        if self.interrupted:
            told = f"INTERRUPTED: {self.interrupted}."
            more = [self._judged_before()]
        elif ids[Outcome.VIOLATED]:
            outcome, told = Outcome.VIOLATED, f"VIOLATED: {ids[Outcome.VIOLATED]}."
            more += [lost] if self.lost else []
        elif self.lost:
            told = lost
        elif ids[Outcome.UNKNOWN]:
            outcome, told = Outcome.UNKNOWN, f"Unknown: {ids[Outcome.UNKNOWN]}."
        elif ids[Outcome.VALID]:
            valid = sum(row.outcome is Outcome.VALID for row in rows)
            judged, what = count - left_out, "judged" if left else "asked"
            runs = f"{judged} run{'s' if judged != 1 else ''}"
            outcome, told = Outcome.VALID, f"Valid: all {valid} that were {what}, in {runs}."
        else:
            outcome, told = Outcome.UNKNOWN, "Nothing was judged."
        return outcome, (told, *more)

    def _judged_before(self) -> str:
        """Which verdicts an interrupted job has."""
        judged = [entry for entry in self.entries if entry.verdict is not None]
        if not judged:
            return "No run was judged before: there is no verdict."
        told = []
        for outcome in _WORST_FIRST:
            names = [entry.name for entry in judged if entry.outcome is outcome]
            if names and outcome is Outcome.VALID:
                told.append(f"{len(names)} valid")
            elif names:
                word = "VIOLATED" if outcome is Outcome.VIOLATED else str(outcome)
                told.append(f"{len(names)} {word} ({', '.join(names)})")
        runs = f"{len(judged)} run{'s were' if len(judged) != 1 else ' was'}"
        return f"{runs} judged before: {'; '.join(told)}."

    def repeat(self, entry: Entry) -> tuple[str, ...]:
        """The command that makes the run again."""
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
                    why_not = why_not or entry.verdict.not_asked.get(requirement, "")
            outcomes = {found.outcome for found in findings.values()}
            yield Row(
                requirement=requirement,
                title=title,
                outcome=next((o for o in _WORST_FIRST if o in outcomes), None),
                findings=findings,
                met=met,
                why_not="" if findings or met else why_not,
            )
