"""``vfio-multifd repro``: reproduce known findings in QEMU.

It runs the scenario of each, and checks that what it shows is that finding and nothing else.
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from harness import interrupt
from harness.check import deviations
from harness.check.deviations import Deviation
from harness.check.verdict import Finding, Outcome
from harness.commands.arguments import add_qemus, add_runs, add_trace_events
from harness.commands.output import say
from harness.errors import HarnessError, UsageError
from harness.job import findings
from harness.job.run import Run, run_scenario
from harness.job.settings import Settings, with_builds

TRIES = 100
"""Runs of a finding that does not show in each run."""

REPEATS = 5
"""Runs of one that does, at most: one in which another known deviation came first, or that could
not be judged, is repeated."""

SHOWN, NOT_SHOWN, NOT_AFFECTED, LOST = 0, 1, 2, 3
"""Exit statuses: the finding was shown; it was not, or another failure was; it is none of this
QEMU's version; a run was lost."""

Say = Callable[[str], None]


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Runs the scenario of each finding NAME and checks that it shows that finding, and no "
        f"other failure.  One that does not show in each run is tried {TRIES} times at most; the "
        "directories of runs that say nothing are removed.  Exit status: 0 shown, 1 not shown, "
        "2 not a finding of this QEMU's version, 3 a run was lost."
    )
    parser.add_argument("name", nargs="*", metavar="NAME",
                        help="finding, as in README's track record (default: all)")  # fmt: skip
    add_qemus(parser)
    add_trace_events(parser)
    add_runs(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    settings = Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
    return repro(options.name, settings, options.runs, options.trace_events, say)


def repro(
    names: Sequence[str], settings: Settings, runs_dir: Path, trace_events: str, say: Say
) -> int:
    """Reproduce each finding of ``names``, all that are known if empty; the worst exit status.

    :param say: prints a line
    :raise UsageError: there is no such finding
    :raise PrerequisiteMissing: there is no such QEMU
    """
    worst = SHOWN
    for deviation in findings.named(tuple(names)):
        status, words = _show(deviation, settings, runs_dir, trace_events)
        say(f"{deviation.name}: {words}")
        worst = max(worst, status)
    return worst


def _show(
    deviation: Deviation, settings: Settings, runs_dir: Path, trace_events: str
) -> tuple[int, str]:
    wanted = with_builds(findings.scenario_of(deviation), settings)
    wanted = msgspec.structs.replace(wanted, name=deviation.name)
    tries = TRIES if deviation.intermittent else REPEATS
    others = ""
    kept: Sequence[Run] = ()
    for number in range(1, tries + 1):
        try:
            runs = interrupt.run(run_scenario(wanted, runs_dir, trace_events=trace_events))
        except UsageError:
            raise  # not about one scenario: the others would meet it too
        except HarnessError as error:
            return LOST, f"LOST: {error}"
        manifest = runs[0].history.manifest
        if not deviation.affects(manifest.source, manifest.destination):
            versions = {manifest.source.version_text, manifest.destination.version_text}
            return (
                NOT_AFFECTED,
                f"not of QEMU {' and '.join(sorted(versions))}: {deviation.versions}",
            )
        shown = [(each, found) for each in runs if (found := deviation.shown_in(each.verdict))]
        besides = [(each, more) for each in runs if (more := _unexplained(each, deviation))]
        if shown and not besides:
            run, finding = shown[0]
            _kept(kept, (), is_other=True)
            after = f" in run {number}" if deviation.intermittent or number > 1 else ""
            return SHOWN, f"shown{after}: {finding.sentence}\n    see {run.rundir}/"
        for each in runs:
            if each.verdict.overall is not Outcome.VALID:
                others = f", but {_failures(each)}\n    see {each.rundir}/"
        is_other = any(each.verdict.overall is not Outcome.VALID for each in runs)
        kept = _kept(kept, runs, is_other=is_other or not deviation.intermittent)
        if shown:
            run, others_found = besides[0]
            others = f" alone: so was {_words(others_found)}\n    see {run.rundir}/"
        if not deviation.intermittent and not _is_to_repeat(runs):
            break
    in_runs = f" in {number} runs" if number > 1 else ""
    return NOT_SHOWN, f"NOT shown{in_runs}{others or ': valid'}"


def _kept(before: Sequence[Run], runs: Sequence[Run], *, is_other: bool) -> Sequence[Run]:
    """The runs to keep of those that did not show the finding: the last ones that say why.

    Up to ``TRIES`` are made, and nobody looks at all of them.
    """
    dropped, kept = (before, runs) if is_other else (runs, before)
    for each in dropped:
        shutil.rmtree(each.rundir, ignore_errors=True)
    return kept


def _is_to_repeat(runs: Sequence[Run]) -> bool:
    """Whether they say nothing about a finding that shows in each run: another known deviation
    came first, or a run could not be judged.
    """
    return any(
        run.verdict.overall is not Outcome.VALID
        and (run.known or run.explained.keys() >= set(run.verdict.with_outcome(Outcome.VIOLATED)))
        for run in runs
    )


def _failures(run: Run) -> str:
    found = [f for f in run.verdict.findings if f.outcome is Outcome.VIOLATED] or [
        f for f in run.verdict.findings if f.outcome is Outcome.UNKNOWN
    ]
    known = run.known or next(iter(run.explained.values()), None)
    return f"{_words(found)} (known deviation {known.name})" if known else _words(found)


def _unexplained(run: Run, shown: Deviation) -> list[Finding]:
    """Violations in ``run`` that neither ``shown`` nor another known deviation explains.

    None where an intermittent one has ended the run: it may break more than it names.
    """
    manifest = run.history.manifest
    facts = manifest.source, manifest.destination
    if run.known or deviations.interrupted_by((shown,), run.verdict, *facts):
        return []
    own = deviations.explain((shown,), run.verdict, *facts)
    found = [f for f in run.verdict.findings if f.outcome is Outcome.VIOLATED]
    return [f for f in found if f.requirement not in {**own, **run.explained}]


def _words(found: Sequence[Finding]) -> str:
    return "; ".join(f"{f.requirement} {f.outcome}: {f.sentence}" for f in found[:3])
