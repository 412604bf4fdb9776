"""Counts the outcomes of the tests, and compares them with the expected ones (``--expect``).

Only of folders below ``tests`` that were run completely: with ``-k``, ``-m``, a test's name
or ``--lf`` there is nothing to compare.
"""

import itertools
import os
import platform
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from harness.check.deviations import Deviation
from harness.errors import HarnessError, PrerequisiteMissing
from harness.pytest_plugin import expected
from harness.pytest_plugin.expected import Counts, ExpectedFile, Facts
from harness.rig import image
from harness.vm import builds, fetched

_INTERMITTENT = "intermittent: "
_TESTS = "tests"
_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "collectonly")
"""Options with which not every test below a folder is run."""
_WORST_FIRST = ("failed", "intermittent", "known_deviation", "skipped", "passed")


def interrupted(known: Deviation) -> str:
    """The reason to give ``pytest.xfail`` where an intermittent deviation interrupted a run."""
    return f"{_INTERMITTENT}{known.requirement}: {known.cause}"


def facts(qemu: str, qemu_dst: str) -> Facts:
    """What of this machine changes which tests there are, and which can run.

    :param qemu: as given; empty: the default
    :param qemu_dst: as given; empty: as ``qemu``
    :raise PrerequisiteMissing: there is no such QEMU
    """
    source = builds.find(qemu)
    destination = builds.find(qemu_dst) if qemu_dst else source
    versions = sorted(builds.version_of(path)[:2] for path in fetched.binaries())
    try:
        image.find()
    except PrerequisiteMissing:
        has_rig = False
    else:
        has_rig = True
    return {
        "architecture": platform.machine(),
        "source": _words(builds.version_of(source)[:2]),
        "destination": _words(builds.version_of(destination)[:2]),
        "builds": list(map(_words, versions)),
        "rig": has_rig,
        "root": os.geteuid() == 0,
        "prove": shutil.which("prove") is not None,
    }


def _words(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


class Counting:
    """The plugin of one run: in the process that the user started, not in xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._path: Path = config.getoption("--expect") or Path(_TESTS, "expected")
        self._is_update: bool = config.getoption("--expect-update")
        self._outcomes: dict[str, str] = {}
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The worst of what a test's phases report."""
        before = self._outcomes.get(report.nodeid, _WORST_FIRST[-1])
        self._outcomes[report.nodeid] = min(_outcome(report), before, key=_WORST_FIRST.index)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that is skipped completely, or that cannot be read, also counts."""
        if not report.passed:
            self._outcomes[report.nodeid] = "failed" if report.failed else "skipped"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A difference fails the run."""
        folders = whole_folders(self._config)
        if session.exitstatus != pytest.ExitCode.OK or not folders:
            return
        seen = {folder: self._counts(folder) for folder in folders}
        try:
            qemus = self._config.getoption("--qemu"), self._config.getoption("--qemu-dst")
            do = self._update if self._is_update else self._compare
            is_well = do(seen, facts(*qemus))
        except HarnessError as error:
            self._lines.append(str(error))
            is_well = False
        if not is_well:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """One line for each difference, after all other summaries: it is why the run failed."""
        yield
        for line in self._lines:
            terminalreporter.write_line(f"expected counts: {line}", bold=True)

    def _counts(self, folder: str) -> Counts:
        here = f"{_TESTS}/{folder}/"
        found = Counter(told for test, told in self._outcomes.items() if test.startswith(here))
        return Counts(
            known_deviation=found["known_deviation"],
            skipped=found["skipped"],
            intermittent=found["intermittent"],
        )

    def _compare(self, seen: dict[str, Counts], machine: Facts) -> bool:
        place = expected.find(self._path, machine)
        if place is None:
            self._lines.append(
                f"{self._path} has none for this kind of machine ({expected.in_words(machine)}); "
                f"`{expected.UPDATE}` makes a file"
            )
            # On a developer's machine that is no fault; a CI that compares nothing is one.
            return "CI" not in os.environ
        path, file = place
        for folder, counts in seen.items():
            wanted = file.tests.get(folder)
            differences = "; ".join(wanted.differences(counts)) if wanted else "it is not there"
            if differences:
                self._lines.append(
                    f"{_TESTS}/{folder}: {differences}; if that is right, `{expected.UPDATE}` "
                    f"rewrites {path}"
                )
        return not self._lines

    def _update(self, seen: dict[str, Counts], machine: Facts) -> bool:
        place = expected.find(self._path, machine)
        if place is None:
            self._path.mkdir(parents=True, exist_ok=True)
            place = _free_name(self._path, machine), ExpectedFile(machine)
        path, file = place
        tests = dict(file.tests)
        for folder, counts in seen.items():
            tests[folder] = expected.updated(file.tests.get(folder), counts)
        path.write_text(expected.render(msgspec.structs.replace(file, tests=tests)))
        self._lines.append(f"written to {path}")
        taken = sum(counts.intermittent for counts in seen.values())
        if taken:
            self._lines.append(
                f"{taken} tests met an intermittent deviation and count as no known one where they "
                "are new: do it again to be sure"
            )
        return True


def whole_folders(config: pytest.Config) -> list[str]:
    """Names of the folders directly below ``tests`` that this run must cover; may be none."""
    if any(config.getoption(name, None) for name in _NARROWING):
        return []
    root = config.rootpath / _TESTS
    found = []
    for arg in config.args:
        path = (config.invocation_params.dir / arg).resolve()
        if path == root:
            found += [each.name for each in path.iterdir() if any(each.glob("**/test_*.py"))]
        elif path.parent == root and path.is_dir():
            found.append(path.name)
        else:
            return []
    return sorted(set(found))


def _free_name(folder: Path, machine: Facts) -> Path:
    """A file in ``folder`` that is not there yet."""
    stem = f"qemu-{machine['source']}"
    if machine["destination"] != machine["source"]:
        stem += f"-to-{machine['destination']}"
    names = (f"{stem}{f'-{number}' if number else ''}.toml" for number in itertools.count())
    return next(folder / name for name in names if not (folder / name).exists())


def _outcome(report: pytest.TestReport) -> str:
    if report.skipped and hasattr(report, "wasxfail"):
        is_intermittent = _INTERMITTENT in report.wasxfail
        return "intermittent" if is_intermittent else "known_deviation"
    return str(report.outcome)
