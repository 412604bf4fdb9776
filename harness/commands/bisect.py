"""``vfio-multifd bisect``: take one step of ``git bisect run`` in a QEMU tree.

It builds the tree, runs scenarios, and answers good or bad, for a requirement or for a finding
(a known deviation, by its name):

- a **requirement** is bad where a run violates it in a way that no known deviation of that
  QEMU's version describes, so that an old failure does not hide a new one; a run that shows
  a known deviation is neither good nor bad;
- a **finding** is bad where it shows, in any version, and good where its requirement was
  judged and it did not show.

A step is good only if no run was bad, and each scenario was judged in one of its tries.
"""

import argparse
import contextlib
import enum
import os
import re
import shlex
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
from harness.commands.output import say
from harness.errors import HarnessError, PrerequisiteMissing, UsageError
from harness.history import private
from harness.job import findings, scenario_checks
from harness.job.known import known_deviations
from harness.job.run import Run, run_scenario
from harness.job.settings import Settings, with_builds
from harness.model.expectation import expect
from harness.scenario import Scenario, main_job
from harness.vm import builds
from harness.vm.process import GUARD

TRIES = 20
"""Runs of each scenario, for a finding that does not show in each run."""
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
BUILD = Path("build")
Say = Callable[[str], None]


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Builds the QEMU tree in the current directory, runs the scenarios for a requirement or "
        "a finding, and exits with 0 (good), 1 (bad) or 125 (skip: this commit cannot be judged). "
        "Use ci/bisect.sh with `git bisect run`: it also aborts on errors that no commit can fix. "
        "For a requirement, a violation that is a known deviation of that version is neither good "
        "nor bad: name the finding instead."
    )
    parser.add_argument("asked", metavar="REQUIREMENT|FINDING",
                        help="requirement, like ORD-1, or a finding's name, as `repro` "
                        "takes it")  # fmt: skip
    parser.add_argument("--scenario", action="append", default=[], type=Path, metavar="FILE",
                        help="scenario to run (default: the finding's, or those of the main job "
                        "that the requirement applies to) (repeatable)")  # fmt: skip
    parser.add_argument("--tries", type=_tries, metavar="N",
                        help="runs of each scenario, up to the first that is bad (default: 1, or "
                        f"{TRIES} for a finding that does not show in each run)")  # fmt: skip
    parser.add_argument("--fixed", action="store_true",
                        help="look for the fix: exit with 0 where it is bad, 1 where it is "
                        "good")  # fmt: skip
    parser.add_argument("--tree", type=Path, default=Path(), metavar="DIR",
                        help="QEMU source tree (default: the current directory)")  # fmt: skip
    parser.add_argument("--build-dir", type=Path, default=BUILD, metavar="DIR",
                        help="build directory in the tree; configured if it is new "
                        "(default: build)")  # fmt: skip
    parser.add_argument("--configure", default="", metavar="OPTIONS",
                        help="more options for configure")  # fmt: skip
    parser.add_argument("--build", default="", metavar="COMMAND",
                        help="shell command that builds the tree, run in it, instead of "
                        "configure and ninja")  # fmt: skip
    parser.add_argument("--qemu-src", default="", metavar="NAME|PATH",
                        help="source QEMU (default: the tree's)")  # fmt: skip
    parser.add_argument("--qemu-dst", default="", metavar="NAME|PATH",
                        help="destination QEMU (default: the tree's)")  # fmt: skip
    parser.add_argument("--runs", type=Path, metavar="DIR",
                        help="folder for the build log and for runs that were not good "
                        "(default: .cache/vfio-multifd in the tree)")  # fmt: skip


def _tries(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    step = Step(
        asked=options.asked,
        tree=options.tree,
        build_dir=options.build_dir,
        runs_dir=options.runs or options.tree / ".cache" / "vfio-multifd",
        build=options.build,
        configure=shlex.split(options.configure),
        paths=options.scenario,
        source=options.qemu_src,
        destination=options.qemu_dst,
        tries=options.tries,
    )
    answer = bisect(step, say)
    if options.fixed:
        answer = answer.turned
    say(f"{options.asked}: {answer.name.lower()}")
    return answer


class Answer(enum.IntEnum):
    """Exit statuses, as ``git bisect run`` reads them."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    """This commit cannot be judged."""

    @property
    def turned(self) -> "Answer":
        """The answer where the fix is looked for: good is git's new, 1."""
        return {Answer.GOOD: Answer.BAD, Answer.BAD: Answer.GOOD}.get(self, self)


class Unbuilt(HarnessError):
    """The tree does not build, so this commit cannot be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to build, and what to ask of it.

    :ivar tree: QEMU's source tree, checked out
    :ivar build_dir: build directory, relative to the tree
    :ivar build: shell command that builds it, run in the tree; if empty, configure and ninja
    :ivar configure: options of configure, besides ``CONFIGURE``
    :ivar paths: scenarios to run; if empty, those of the main job that the requirement applies
        to, or the finding's
    :ivar source: source QEMU, if not the tree's
    :ivar destination: destination QEMU, if not the tree's
    :ivar tries: runs of each scenario; None for 1, or ``TRIES`` of an intermittent finding
    :ivar runs_dir: folder for the build log and for runs that were not good
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
        """The known deviation that is asked for; None if a requirement is."""
        return next((d for d in known_deviations() if d.name == self.asked), None)

    @property
    def requirement(self) -> str:
        """The requirement that is asked about."""
        return self.finding.requirement if self.finding else self.asked

    def check(self) -> None:
        """Check what does not depend on the commit.

        :raise UsageError: nothing has that name, or a scenario cannot be used
        :raise PrerequisiteMissing: ninja or a given QEMU is missing
        """
        if self.requirement not in TITLES:
            names = (*TITLES, *(each.name for each in known_deviations()))
            raise UsageError(
                f"bisect: {self.asked}: neither a requirement nor a finding"
                f"{findings.nearest(self.asked, names)}"
            )
        if not self.build:
            if not (self.tree / "configure").is_file():
                raise UsageError(
                    f"bisect: {self.tree} is not a QEMU source tree: it has no configure"
                )
            if shutil.which("ninja") is None:
                raise PrerequisiteMissing("bisect: ninja is missing, which builds QEMU")
        for name in filter(None, (self.source, self.destination)):
            builds.find(name)
        for path in self.paths:
            scenario_checks.require(scenario.load(path))


def bisect(step: Step, say: Say) -> Answer:
    """Build, run and answer.

    :param say: prints a line
    :raise HarnessError: no commit could be judged so
    """
    step.check()
    try:
        return judge(step, make(step, say), say)
    except UsageError:
        raise
    except HarnessError as error:
        say(f"cannot be judged: {error}")
        return Answer.SKIP


# -- build -------------------------------------------------------------------------------


def make(step: Step, say: Say) -> Path:
    """Build the tree; its QEMU.

    :raise Unbuilt: it does not build; the log says why
    """
    folder = step.tree / step.build_dir
    folder.mkdir(parents=True, exist_ok=True)
    private.make_folders(step.runs_dir)
    log = step.runs_dir / LOG
    private.write(log, b"")
    if step.build:
        _execute(["sh", "-c", step.build], step.tree, log)
    else:
        if not (folder / "build.ninja").is_file():
            say(f"configuring in {folder}")
            configure = str((step.tree / "configure").resolve())
            _execute([configure, *CONFIGURE, *step.configure], folder, log)
        say(f"building in {folder}")
        _execute(["ninja", *TARGETS], folder, log)
    return builds.find(str(folder.resolve()))


def _execute(command: Sequence[str], folder: Path, log: Path) -> None:
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
        last = words[-1] if words else "no output"
        reason = next((line for line in words if re.search(r"\berror: ", line)), last)
        raise Unbuilt(f"{command[0]} ended with status {status}: {reason}; see {log}")


def _end(building: subprocess.Popen[bytes]) -> None:
    """End a build and all its processes."""
    os.killpg(building.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        building.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):  # also what ignores SIGTERM
        os.killpg(building.pid, signal.SIGKILL)
    building.wait()


# -- run ---------------------------------------------------------------------------------


def judge(step: Step, binary: Path, say: Say) -> Answer:
    """Run the step's scenarios, up to ``tries`` times each; bad at the first run that is.

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
            say(f"try {number} of {tries}, {each.name}: {words}")
            if answer is Answer.BAD:
                return Answer.BAD
            if answer is Answer.GOOD:
                good.add(each.name)
            elif answer is Answer.SKIP:
                unjudged[each.name] = words
    for name in unjudged.keys() - good:
        say(f"cannot be judged: {name}: {unjudged[name]}")
        return Answer.SKIP
    if good:
        return Answer.GOOD
    say(f"cannot be judged: {step.requirement} was not applicable to any run")
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
    """The answer of one run, and why; None if the requirement did not apply to it.

    Its directory stays if it was not good.
    """
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
    return None, "not applicable"


def _remove(runs: Sequence[Run]) -> None:
    for run in runs:
        shutil.rmtree(run.rundir)


def answer_of(step: Step, run: Run) -> tuple[Answer | None, str]:
    """The answer of ``run``, and why; None if the requirement did not apply to it."""
    finding = run.verdict.finding(step.requirement)
    if step.finding is not None:
        shown = step.finding.shown_in(run.verdict)
        if shown is not None:
            return Answer.BAD, f"shown: {shown.sentence}"
    if finding is None:
        return None, run.verdict.not_applicable.get(step.requirement, "")
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
