"""One step of ``git bisect run`` on a QEMU tree: builds it, runs, and answers good or bad.

What is asked is a requirement or a finding (a known deviation, by its name):

- a **requirement** is bad where a run violates it in a way that no known deviation of that
  QEMU's version describes, so that an old trouble does not hide a new one; such a run
  says nothing, neither good nor bad;
- a **finding** is bad where it shows, whatever version the tree says it is, and good where
  its requirement was judged and it did not show.

A step is good only if nothing was bad, and each scenario that asks was judged in one of
its tries.
"""

import contextlib
import enum
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import interrupt, scenario
from harness.check.deviations import Deviation
from harness.check.judge import RULES, TITLES
from harness.check.verdict import Outcome
from harness.errors import HarnessError, PrerequisiteMissing, UsageError
from harness.history import private
from harness.job import findings, scenario_checks
from harness.job.job import Settings, with_builds
from harness.job.run import Run, known_deviations, run_scenario
from harness.model.expectation import expect
from harness.scenario import Scenario, main_job
from harness.vm import builds
from harness.vm.process import GUARD

TRIES = 20
"""Runs of each scenario, where what is asked for does not show in each run."""
CONFIGURE = (
    "--target-list=x86_64-softmmu",
    "--enable-trace-backends=log",
    "--disable-docs",
    "--disable-tools",
    "--disable-guest-agent",
    "--disable-werror",  # an old tree, a new compiler
)
TARGETS = (builds.BINARY, "trace/trace-events-all")
LOG = "build.log"
_GRACE_S = 0.7  # of a build that is to end; a signal ends us within 2 s
Tell = Callable[[str], None]


class Answer(enum.IntEnum):
    """Exit statuses, as ``git bisect run`` reads them."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    """This commit cannot be judged."""

    @property
    def turned(self) -> "Answer":
        """Where the fix is looked for: good once the trouble is gone is git's new, 1."""
        return {Answer.GOOD: Answer.BAD, Answer.BAD: Answer.GOOD}.get(self, self)


class Unbuilt(HarnessError):
    """The tree does not build: this commit cannot be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to build, and what to ask of it.

    :ivar tree: QEMU's source tree, checked out
    :ivar build_dir: where it is built; relative to the tree
    :ivar build: shell command that builds it, run in the tree; empty: configure and ninja
    :ivar configure: options of configure, more than ``CONFIGURE``
    :ivar paths: scenarios to run; none: those of the main job that ask, or the finding's
    :ivar source: source QEMU, where it is not the tree's; ``destination`` likewise
    :ivar tries: runs of each scenario; None: 1, or ``TRIES`` of an intermittent finding
    :ivar runs_dir: where the log of the build and runs that were not good are kept
    """

    asked: str
    tree: Path
    build_dir: Path
    runs_dir: Path
    build: str = ""
    configure: Sequence[str] = ()
    paths: Sequence[Path] = ()
    source: str = ""
    destination: str = ""
    tries: int | None = None

    @property
    def finding(self) -> Deviation | None:
        """The known deviation that is asked for; None: it is a requirement."""
        return next((d for d in known_deviations() if d.name == self.asked), None)

    @property
    def requirement(self) -> str:
        """The requirement that is asked about."""
        return self.finding.requirement if self.finding else self.asked

    def check(self) -> None:
        """Refuse what no commit could be judged by.

        :raise UsageError: nothing has that name, or a scenario cannot be used
        :raise PrerequisiteMissing: a tool or a QEMU that is not the tree's is not there
        """
        if self.requirement not in TITLES:
            names = ", ".join((*TITLES, *(each.name for each in known_deviations())))
            raise UsageError(
                f"bisect: {self.asked}: neither a requirement nor a finding; there are: {names}"
            )
        if not self.build:
            if not (self.tree / "configure").is_file():
                raise UsageError(f"bisect: {self.tree} is no QEMU source tree: it has no configure")
            if shutil.which("ninja") is None:
                raise PrerequisiteMissing("bisect: ninja is not there, which builds QEMU")
        for name in filter(None, (self.source, self.destination)):
            builds.find(name)
        for path in self.paths:
            scenario_checks.require(scenario.load(path))


def bisect(step: Step, tell: Tell) -> Answer:
    """Build, run and answer.

    :param tell: prints a line
    :raise HarnessError: no commit could be judged so
    """
    step.check()
    try:
        return judge(step, make(step, tell), tell)
    except UsageError:
        raise
    except HarnessError as error:
        tell(f"cannot be judged: {error}")
        return Answer.SKIP


# -- build -------------------------------------------------------------------------------


def make(step: Step, tell: Tell) -> Path:
    """The tree's QEMU, built.

    :raise Unbuilt: it does not build; the log has why
    """
    folder = step.tree / step.build_dir
    folder.mkdir(parents=True, exist_ok=True)
    private.make_folders(step.runs_dir)
    log = step.runs_dir / LOG
    private.write(log, b"")
    if step.build:
        _run(["sh", "-c", step.build], step.tree, log)
    else:
        if not (folder / "build.ninja").is_file():
            tell(f"configuring in {folder}")
            configure = str((step.tree / "configure").resolve())
            _run([configure, *CONFIGURE, *step.configure], folder, log)
        tell(f"building in {folder}")
        _run(["ninja", *TARGETS], folder, log)
    return builds.find(str(folder.resolve()))


def _run(command: Sequence[str], folder: Path, log: Path) -> None:
    """Run ``command``, which does not outlive us, with its output at the end of ``log``."""
    with log.open("ab") as out:
        building: subprocess.Popen[bytes] | None = None
        try:
            with interrupt.held():
                building = subprocess.Popen(
                    (*GUARD, *command),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            status = building.wait()
        except KeyboardInterrupt:
            if building is not None:
                _end(building)
            raise
    if status:
        words = log.read_text(errors="backslashreplace").strip().splitlines()
        last = words[-1] if words else "it said nothing"
        reason = next((line for line in words if re.search(r"\berror: ", line)), last)
        raise Unbuilt(f"{command[0]} ended with status {status}: {reason}; see {log}")


def _end(building: subprocess.Popen[bytes]) -> None:
    """End a build and all that it has started."""
    os.killpg(building.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        building.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):  # also what does not heed it
        os.killpg(building.pid, signal.SIGKILL)
    building.wait()


# -- run ---------------------------------------------------------------------------------


def judge(step: Step, binary: Path, tell: Tell) -> Answer:
    """Run what asks about it, as often as is wanted; bad at the first run that is.

    :raise HarnessError: no run could be made at all
    """
    builds.require_version(binary, builds.version_of(binary))
    wanted = list(_scenarios(step, binary))
    tries = step.tries or (TRIES if step.finding and step.finding.intermittent else 1)
    good: set[str] = set()
    unjudged: dict[str, str] = {}
    for number in range(1, tries + 1):
        for each in wanted:
            answer, words = _one(step, each)
            tell(f"try {number} of {tries}, {each.name}: {words}")
            if answer is Answer.BAD:
                return Answer.BAD
            if answer is Answer.GOOD:
                good.add(each.name)
            elif answer is Answer.SKIP:
                unjudged[each.name] = words
    for name in unjudged.keys() - good:
        tell(f"cannot be judged: {name}: {unjudged[name]}")
        return Answer.SKIP
    if good:
        return Answer.GOOD
    tell(f"cannot be judged: no run asked about {step.requirement}")
    return Answer.SKIP


def _scenarios(step: Step, binary: Path) -> Iterator[Scenario]:
    settings = Settings(qemu=step.source or str(binary), qemu_dst=step.destination or str(binary))
    for each in _plain(step, settings):
        yield with_builds(each, settings)


def _plain(step: Step, settings: Settings) -> list[Scenario]:
    if step.paths:
        return [scenario.load(path) for path in step.paths]
    if step.finding:
        return [findings.scenario_of(step.finding)]
    rule = next(rule for rule in RULES if rule.id == step.requirement)
    pair = [builds.find(name) for name in (settings.qemu, settings.qemu_dst)]
    source, destination = (builds.probe_now(binary).facts for binary in pair)
    return [
        each
        for each in main_job.scenarios(min(source.version, destination.version))
        if any(
            not rule.skip_reason(one, expect(one, source, destination)) for one in each.migrations()
        )
    ]


def _one(step: Step, wanted: Scenario) -> tuple[Answer | None, str]:
    """What one run says; None: it was not asked.  Its directory stays if it was not good."""
    try:
        runs = interrupt.run(run_scenario(wanted, step.runs_dir))
    except HarnessError as error:
        return Answer.SKIP, f"lost: {error}"
    answers = [(*answer_of(step, run), run) for run in runs]
    for wanted_first in (Answer.BAD, Answer.SKIP, Answer.GOOD):
        for answer, words, run in answers:
            if answer is wanted_first and answer is not Answer.GOOD:
                return answer, f"{words}; see {run.rundir}/"
            if answer is wanted_first:
                _remove(runs)
                return answer, words
    _remove(runs)
    return None, "not asked"


def _remove(runs: Sequence[Run]) -> None:
    for run in runs:
        shutil.rmtree(run.rundir)


def answer_of(step: Step, run: Run) -> tuple[Answer | None, str]:
    """What ``run`` says, and in words; None: it does not ask about the requirement."""
    finding = run.verdict.finding(step.requirement)
    if step.finding is not None:
        shown = step.finding.shown_in(run.verdict)
        if shown is not None:
            return Answer.BAD, f"shown: {shown.sentence}"
    if finding is None:
        return None, run.verdict.not_asked.get(step.requirement, "")
    if finding.outcome is Outcome.UNKNOWN:
        return Answer.SKIP, f"unknown: {finding.sentence}"
    if step.finding is not None:
        return Answer.GOOD, f"not shown: {finding.outcome}"
    if finding.outcome is Outcome.VALID:
        return Answer.GOOD, f"valid: {finding.sentence}"
    known = run.known or run.explained.get(finding.requirement)
    if known is not None:
        return Answer.SKIP, f"known deviation {known.name}: {finding.sentence}"
    return Answer.BAD, f"violated: {finding.sentence}"
