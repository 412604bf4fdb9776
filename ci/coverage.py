#!/usr/bin/env python3
"""Which lines and branches of QEMU the tests run, by gcov; fails if it is less than recorded.

``make coverage`` calls it.  tests/coverage/recorded.toml has the percentages, one section for each
version of QEMU and for each suite; tests/coverage/reasons.toml says why lines are never run.

Each QEMU adds its counters to files of one folder at its end (GCOV_PREFIX), which is empty
before: libgcov itself merges them, under a lock.  So one call of gcov per version reads everything,
and its JSON is complete: gcovr, which reads the same JSON, would add the merging of several reports
and rules for the exception branches of C++, neither of which exists here, and five packages.

What is lost: the counters of a QEMU that SIGKILL ends without SIGTERM before it (the action
``kill``, the end of the harness), or whose main thread waits in a system call that no signal
interrupts; see harness/vm/gcov_signals.c.
"""

import argparse
import itertools
import math
import mmap
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.vm import built, fetched

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "coverage" / "recorded.toml"
REASONS = ROOT / "tests" / "coverage" / "reasons.toml"
COUNTERS = ROOT / ".cache" / "coverage"
VERSIONS = ("10.0.13", "10.2.2")
FILES = (
    "hw/vfio/migration-multifd.c",
    "migration/multifd.c",
    "migration/multifd-device-state.c",
    "hw/vfio/migration.c",
)
MAIN_JOB = "main-job"
FUNCTIONAL = "functional"
_ASSERTIONS = ("assert(", "g_assert(")
_DEFINITION = re.compile(r"[A-Za-z_][\w\s*]*?(\w+)\(")
_WRITES_WHEN_KILLED = b"__wrap_sigaction"


class Failed(Exception):
    """It could not be measured."""


# -- what gcov prints ------------------------------------------------------------------------


class GcovBranch(msgspec.Struct, frozen=True):
    """One way out of a line."""

    count: int


class GcovLine(msgspec.Struct, frozen=True):
    """A line with code."""

    line_number: int
    count: int
    branches: list[GcovBranch]


class GcovFunction(msgspec.Struct, frozen=True):
    """Where a function is."""

    name: str
    start_line: int
    end_line: int


class GcovFile(msgspec.Struct, frozen=True):
    """A source file; headers are files of their own."""

    file: str
    lines: list[GcovLine]
    functions: list[GcovFunction]


class GcovDocument(msgspec.Struct, frozen=True):
    """One object file."""

    files: list[GcovFile]


# -- lines and figures -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line with code.

    :ivar under: the line that decides whether it is run: the next one above with less indentation
    :ivar branches: how often each way out was taken; empty for an assertion, one way of which is
        never taken in a QEMU without bugs
    """

    number: int
    function: str
    text: str
    under: str
    count: int
    branches: tuple[int, ...]


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    total: int

    @property
    def percent(self) -> float:
        """In percent; 100 of nothing."""
        return 100 * self.part / self.total if self.total else 100.0

    def __str__(self) -> str:
        return f"{self.percent:5.1f} % ({self.part}/{self.total})"


@dataclass(frozen=True)
class Figures:
    """Of one file: lines that were run, branches that were taken at least once."""

    lines: Share
    branches: Share

    def recorded(self) -> "Recorded":
        """What is recorded for it: a point less, as a few lines and branches depend on races."""
        lines, branches = (math.floor(each.percent) - 1 for each in (self.lines, self.branches))
        return Recorded(lines=max(lines, 0), branches=max(branches, 0))


def lines_of(found: GcovFile, source: Sequence[str]) -> list[Line]:
    """The lines of one file.

    :param source: its text
    """
    counts: dict[int, int] = {}
    branches: dict[int, list[int]] = {}
    for line in found.lines:  # one for each function that has a part of the line
        counts[line.line_number] = max(counts.get(line.line_number, 0), line.count)
        branches.setdefault(line.line_number, []).extend(way.count for way in line.branches)
    lines = []
    for number in sorted(counts):
        text = source[number - 1].strip()
        lines.append(
            Line(
                number=number,
                function=_function(found.functions, source, number),
                text=text,
                under=_under(source, number),
                count=counts[number],
                branches=() if text.startswith(_ASSERTIONS) else tuple(branches[number]),
            )
        )
    return lines


def _function(functions: Sequence[GcovFunction], source: Sequence[str], number: int) -> str:
    """The function that line ``number`` is in.

    gcov does not list a function that was inlined and never run: its name is at the begin of the
    next line above that is not indented.
    """
    inside = [each for each in functions if each.start_line <= number <= each.end_line]
    if inside:
        return max(inside, key=lambda each: each.start_line).name
    for text in reversed(source[:number]):
        if found := _DEFINITION.match(text):
            return found[1]
    return ""


def _under(source: Sequence[str], number: int) -> str:
    indented = _indentation(source[number - 1])
    for text in reversed(source[: number - 1]):
        is_label = text.rstrip().endswith(":") and not text.lstrip().startswith(("case", "default"))
        if text.strip() and not is_label and _indentation(text) < indented:
            return text.strip()
    return ""


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip())


def figures(lines: Sequence[Line]) -> Figures:
    """The figures of these lines."""
    ways = [count for line in lines for count in line.branches]
    return Figures(
        Share(sum(line.count > 0 for line in lines), len(lines)),
        Share(sum(count > 0 for count in ways), len(ways)),
    )


# -- reasons ---------------------------------------------------------------------------------


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why lines are never run.

    It is matched by texts, not by line numbers, so that it holds for several versions.
    """

    file: str
    why: str
    function: str = ""
    """Empty: any function."""
    under: str = ""
    """The line that decides whether the lines are run (see Line); empty: any."""
    lines: list[str] = msgspec.field(default_factory=list)
    """Their texts; empty: any."""

    def is_for(self, file: str, line: Line) -> bool:
        """Whether it explains ``line`` of ``file``."""
        return (
            self.file == file
            and self.function in {"", line.function}
            and self.under in {"", line.under}
            and (not self.lines or line.text in self.lines)
        )


class _Reasons(msgspec.Struct, forbid_unknown_fields=True):
    reason: list[Reason]


def reasons_from(text: str) -> list[Reason]:
    """The reasons in a file.

    :raise Failed: it is not a file of reasons
    """
    try:
        found = msgspec.convert(tomllib.loads(text), _Reasons).reason
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Failed(f"{REASONS.name}: {error}") from error
    for reason in found:
        if reason.file not in FILES:
            raise Failed(f"{REASONS.name}: {reason.file}: not one of {', '.join(FILES)}")
        if not (reason.function or reason.under or reason.lines):
            raise Failed(f"{REASONS.name}: a reason must not be for all of {reason.file}")
    return found


def why(reasons: Iterable[Reason], file: str, line: Line) -> str:
    """Why ``line`` is never run; empty if no reason is given."""
    return next((reason.why for reason in reasons if reason.is_for(file, line)), "")


# -- what is recorded ------------------------------------------------------------------------


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Least percentages of one file."""

    lines: float
    branches: float


Sections = dict[str, dict[str, dict[str, Recorded]]]
"""By version, suite and file."""
HEAD = """\
# Least percentages of lines and branches of QEMU that the tests run, for each version and suite;
# `make coverage` fails below them, and `make coverage ARGS=--record` rewrites them: rounded down,
# and a point less, as a few lines and branches depend on races between QEMU's threads.
"""


def sections_from(text: str) -> Sections:
    """What a file has recorded.

    :raise Failed: it is not such a file
    """
    try:
        return msgspec.convert(tomllib.loads(text), Sections)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Failed(f"{RECORDED.name}: {error}") from error


def text_of(sections: Sections) -> str:
    """The file that has recorded them."""
    text = HEAD
    for version, suites in sorted(sections.items()):
        for suite, files in sorted(suites.items()):
            text += f'\n["{version}".{suite}]\n'
            for file, least in files.items():
                text += f'"{file}" = {{ lines = {least.lines:g}, branches = {least.branches:g} }}\n'
    return text


def below(found: Mapping[str, Figures], least: Mapping[str, Recorded]) -> Iterator[str]:
    """What is less than recorded, or not recorded; one line each."""
    for file, each in found.items():
        if file not in least:
            yield f"{file}: nothing is recorded; ARGS=--record records it"
            continue
        for what, share, limit in (
            ("lines", each.lines, least[file].lines),
            ("branches", each.branches, least[file].branches),
        ):
            if share.percent < limit:
                yield f"{file}: {share.percent:.1f} % of {what}, below the recorded {limit:g} %"


# -- report ----------------------------------------------------------------------------------


def table(found: Mapping[str, Figures]) -> Iterator[str]:
    """The figures of each file."""
    width = max(map(len, found))
    yield f"{'':<{width}}  {'lines':<19}  branches"
    for file, each in found.items():
        yield f"{file:<{width}}  {each.lines!s:<19}  {each.branches}"


def never_run(found: Mapping[str, Sequence[Line]], reasons: Sequence[Reason]) -> Iterator[str]:
    """Every line that was never run, by function, and why."""
    for file, lines in found.items():
        unseen = [line for line in lines if line.count == 0]
        explained = [(line, why(reasons, file, line)) for line in unseen]
        without = sum(not reason for _, reason in explained)
        yield ""
        yield f"{file}: {len(unseen)} lines were never run, {without} of them without a reason"
        for (function, reason), group in itertools.groupby(
            explained, key=lambda each: (each[0].function, each[1])
        ):
            yield f"  {function}(): {reason or 'NO REASON IS GIVEN'}"
            for line, _ in group:
                yield f"    {line.number:>5}  {line.text}"


def never_taken(found: Mapping[str, Sequence[Line]]) -> Iterator[str]:
    """Every line that was run, but not all of whose branches were taken."""
    for file, lines in found.items():
        partly = [line for line in lines if line.count and 0 in line.branches]
        yield ""
        yield f"{file}: {len(partly)} lines with a branch that was never taken"
        for line in partly:
            taken = "".join("+" if count else "-" for count in line.branches)
            yield f"    {line.number:>5}  {taken:<4}  {line.text}"


# -- measurement -----------------------------------------------------------------------------


def counted(version: str, counters: Path) -> dict[str, list[Line]]:
    """The lines of FILES by the counters that QEMUs have written.

    :raise Failed: they cannot be read
    """
    tree = fetched.CACHE / ".source" / version
    found = {}
    for file in FILES:
        stem = file.replace("/", "_")
        notes = next((tree / "gcov").glob(f"*/{stem}.gcno"), None)
        data = next(counters.glob(f"**/.source/{version}/gcov/*/{stem}.gcda"), None)
        if notes is None:
            raise Failed(f"{tree}/gcov has no {stem}.gcno: build {version} --variant gcov again")
        if data is None:
            raise Failed(f"no QEMU {version} has written {stem}.gcda below {counters}")
        shutil.copyfile(notes, data.with_suffix(".gcno"))
        argv = ["gcov", "--json-format", "--branch-probabilities", "--stdout", data.name]
        done = subprocess.run(argv, check=False, capture_output=True, cwd=data.parent)
        if done.returncode or b"mismatch" in done.stderr:
            raise Failed(f"gcov {data}: {done.stderr.decode(errors='replace').strip()}")
        document = msgspec.json.decode(done.stdout, type=GcovDocument)
        ours = [each for each in document.files if each.file.endswith(f"/{file}")]
        if not ours:
            raise Failed(f"gcov {data}: it has no {file}")
        source = (tree / "source" / file).read_text().splitlines()
        found[file] = lines_of(ours[0], source)
    return found


def measure(name: str, suite: str, counters: Path) -> str:
    """Run ``suite`` on the build ``name``, which leaves its counters in ``counters``.

    :return: what it has found; empty if everything was as expected
    :raise Failed: it could not be run
    """
    binary = fetched.CACHE / name / "qemu-system-x86_64"
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        if data.find(_WRITES_WHEN_KILLED) < 0:
            raise Failed(
                f"{name} was built by an older recipe: remove {binary.parent} and "
                f"{fetched.CACHE}/.source/{name.partition('-')[0]}/gcov, and repeat this"
            )
    shutil.rmtree(counters, ignore_errors=True)
    counters.mkdir(parents=True)
    if suite == MAIN_JOB:
        argv = ["-m", "harness.cli", "run", "--no-progress", "--runs", str(counters / "runs")]
    else:
        argv = ["-m", "pytest", "-q", "--numprocesses", "auto", "--maxprocesses", "8",
                "--maxschedchunk", "1", "tests/functional"]  # fmt: skip
    # Below the path of each object: a test may also run another build with counters.
    environment = {**os.environ, "GCOV_PREFIX": str(counters)}
    said = counters / "output.txt"
    with said.open("wb") as output:
        done = subprocess.run(
            [sys.executable, *argv, "--qemu", name], check=False, cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if done.returncode not in {0, 1, 2} or (suite != MAIN_JOB and done.returncode == 2):
        raise Failed(f"the suite ended with status {done.returncode}: see {said}")
    return "" if done.returncode == 0 else f"the suite ended with {done.returncode}: see {said}"


def main() -> int:
    """Measure and print.  Exit status 1: less than recorded; 3: it could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="*", default=VERSIONS, metavar="VERSION",
                        help=f"versions of QEMU (default: {' '.join(VERSIONS)})")  # fmt: skip
    parser.add_argument("--main-job", action="store_true",
                        help="run only the main job, not the functional tests")  # fmt: skip
    parser.add_argument("--branches", action="store_true",
                        help="also print the lines with a branch that was never "
                        "taken")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="print the last measurement again, do not measure")  # fmt: skip
    parser.add_argument("--record", action="store_true",
                        help=f"write the percentages to {RECORDED.relative_to(ROOT)}")  # fmt: skip
    options = parser.parse_args()
    suite = MAIN_JOB if options.main_job else FUNCTIONAL
    wrong: list[str] = []
    try:
        reasons = reasons_from(REASONS.read_text())
        for version in options.version:
            wrong += one_version(version, suite, reasons, options)
    except (Failed, HarnessError, OSError) as error:
        print(f"coverage: {error}", file=sys.stderr)
        return 3
    print("".join(f"coverage: {line}\n" for line in wrong), end="", file=sys.stderr)
    return 1 if wrong else 0


def one_version(
    version: str, suite: str, reasons: Sequence[Reason], options: argparse.Namespace
) -> list[str]:
    """Measure and print one version; what is wrong with it.

    :raise Failed: it could not be measured
    """
    counters = COUNTERS / version / suite
    name = built.name_of(version, "gcov")
    noted = ""
    if not options.again:
        built.build(version, "gcov")
        noted = measure(name, suite, counters)
    lines = counted(version, counters)
    found = {file: figures(each) for file, each in lines.items()}
    print(f"QEMU {version}, {suite}:\n")
    print("\n".join(itertools.chain(table(found), never_run(lines, reasons))))
    if options.branches:
        print("\n".join(never_taken(lines)))
    print()
    if noted:
        print(f"coverage: QEMU {version}: {noted}", file=sys.stderr)
    sections = sections_from(RECORDED.read_text())
    if options.record:
        new = {file: each.recorded() for file, each in found.items()}
        sections.setdefault(version, {})[suite] = new
        RECORDED.write_text(text_of(sections))
    least = sections.get(version, {}).get(suite, {})
    return [f"QEMU {version}, {suite}: {line}" for line in below(found, least)]


if __name__ == "__main__":
    sys.exit(main())
