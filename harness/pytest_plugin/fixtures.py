"""Fixtures of the functional tests; the package's docstring describes them."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from harness.check import deviations
from harness.check.verdict import Outcome
from harness.errors import CannotRunHere, PrerequisiteMissing
from harness.history.rundir import RunDir
from harness.job.assess import assess
from harness.job.known import known_deviations
from harness.job.run import Run, run_scenario
from harness.pytest_plugin.counting import interrupted
from harness.scenario import Scenario
from harness.session.session import Session
from harness.vm import builds, fits

FAILED = pytest.StashKey[bool]()

Judged = Callable[[Scenario], Awaitable[Run]]
JudgedInTurn = Callable[[Scenario], Awaitable[tuple[Run, ...]]]
Kept = Callable[..., None]


def _build(config: pytest.Config, option: str) -> Path:
    try:
        return builds.find(config.getoption(option))
    except PrerequisiteMissing as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def qemu_src(pytestconfig: pytest.Config) -> Path:
    """Source QEMU."""
    return _build(pytestconfig, "--qemu")


@pytest.fixture(scope="session")
def qemu_dst(pytestconfig: pytest.Config, qemu_src: Path) -> Path:
    """Destination QEMU."""
    return _build(pytestconfig, "--qemu-dst") if pytestconfig.getoption("--qemu-dst") else qemu_src


@pytest.fixture(scope="session")
def qemu_facts(qemu_src: Path, qemu_dst: Path) -> tuple[builds.Probe, builds.Probe]:
    """What source and destination QEMU are and can do, so that a test asks for what it needs."""
    source = builds.probe_now(qemu_src)
    return source, source if qemu_dst == qemu_src else builds.probe_now(qemu_dst)


@pytest.fixture
def results_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Folder of this test's runs; removed if it passed, unless ``--keep-runs`` is given."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.nodeid.removeprefix("tests/functional/"))
    # Never one that exists: it holds the evidence of an earlier failure.
    folder = RunDir.create(request.config.getoption("--runs"), name).path
    yield folder
    if request.node.stash.get(FAILED, False):
        request.node.user_properties.append(("run", str(folder)))
    elif not request.config.getoption("--keep-runs"):
        shutil.rmtree(folder)


@pytest.fixture
def scenario(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, qemu_src: Path, qemu_dst: Path
) -> Scenario:
    """The scenario of the pair fixtures: options, then fields of the ``scenario`` marker."""
    fields: dict[str, Any] = {"channels": pytestconfig.getoption("--channels")}
    for marker in reversed(list(request.node.iter_markers("scenario"))):
        fields |= marker.kwargs
    named = {"name": request.node.name, "qemu": str(qemu_src), "qemu_dst": str(qemu_dst)}
    return _on_common_machine(Scenario(**{**named, **fields}))


@pytest_asyncio.fixture
async def pair_built(
    scenario: Scenario, results_dir: Path, pytestconfig: pytest.Config
) -> AsyncIterator[Session]:
    """A session whose QEMUs are not started yet."""
    trace_events = pytestconfig.getoption("--trace-events")
    async with Session(
        scenario, RunDir.create(results_dir, "run"), trace_events, assess=assess
    ) as session:
        yield session
        if any(peer.vm.is_running for peer in (session.source, session.destination)):
            await session.stop()


@pytest_asyncio.fixture
async def pair_booted(pair_built: Session) -> Session:
    """A session whose QEMUs are both up, configured, and not migrating."""
    try:
        assert await pair_built.boot(), "a QEMU refused to start"
    except CannotRunHere as error:
        pytest.skip(f"cannot run here: {error}")
    return pair_built


@pytest_asyncio.fixture
async def pair_migrated(pair_booted: Session) -> Session:
    """A session whose migration has ended; both QEMUs are still up."""
    await pair_booted.migrate()
    return pair_booted


@pytest.fixture
def judged(judged_in_turn: JudgedInTurn) -> Judged:
    """As ``judged_in_turn``, for a scenario of one migration."""

    async def run(scenario: Scenario) -> Run:
        assert not scenario.then, "it has more migrations: use judged_in_turn"
        (only,) = await judged_in_turn(scenario)
        return only

    return run


@pytest.fixture
def judged_in_turn(
    request: pytest.FixtureRequest,
    results_dir: Path,
    pytestconfig: pytest.Config,
    qemu_src: Path,
    qemu_dst: Path,
) -> JudgedInTurn:
    """Runs and judges the migrations of a scenario with the builds under test, where it does not
    name its own: a run for each that was made.

    A run that an intermittent known deviation interrupts makes the test an expected failure; one
    that needs what this build or machine lacks, a skip.
    """

    def with_builds(scenario: Scenario) -> Scenario:
        return _on_common_machine(
            msgspec.structs.replace(
                scenario,
                qemu=scenario.qemu or str(qemu_src),
                qemu_dst=scenario.qemu_dst or str(qemu_dst),
            )
        )

    async def run(scenario: Scenario) -> tuple[Run, ...]:
        trace_events = pytestconfig.getoption("--trace-events")
        # May have to ask the builds.
        wanted = await asyncio.to_thread(scenario.with_each, with_builds)
        await asyncio.to_thread(fits.require, wanted, trace_events)
        try:
            runs = await run_scenario(wanted, results_dir, trace_events=trace_events)
        except CannotRunHere as error:
            pytest.skip(f"cannot run here: {error}")
        for done in runs:
            _tell_numbers(request.node, done)
            if done.known is not None:
                request.node.user_properties.append(("run", str(done.rundir)))
                pytest.xfail(interrupted(done.known))
        return runs

    return run


def _on_common_machine(scenario: Scenario) -> Scenario:
    machine = builds.common_machine(
        scenario.machine, builds.find(scenario.qemu), builds.find(scenario.qemu_dst)
    )
    return msgspec.structs.replace(scenario, machine=machine)


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Kept:
    """Asserts that a run is valid, and that each requirement named is.

    A known deviation of this ``case`` must show and makes the test an expected failure; what
    no known deviation describes is a failure all the same.
    """

    def check(run: Run, *requirements: str, case: str = "") -> None:
        builds_of = run.history.manifest.source, run.history.manifest.destination
        violated = [f for f in run.verdict.findings if f.outcome is Outcome.VIOLATED]
        expected = []
        for requirement in requirements:
            known = deviations.find(known_deviations(), requirement, case, *builds_of)
            is_shown = known is not None and known.shown_in(run.verdict) is not None
            if known is not None and (is_shown or not known.intermittent):
                assert is_shown, (
                    f"known deviation {requirement} ({case}) does not show any more: "
                    f"remove it, or narrow its versions; {_words(run)}"
                )
                expected.append(known)
                continue
            finding = run.verdict.finding(requirement)
            assert finding is not None, (
                f"{requirement}: {run.verdict.not_applicable.get(requirement)}"
            )
            assert finding.outcome is Outcome.VALID, _words(run)
        if not expected:
            assert not violated, _words(run)
            return
        explained = run.explained
        for finding in violated:
            # What is expected here may show in other requirements, too.  RUN only repeats
            # that the run did not end as it must.
            is_known = finding.requirement in ("RUN", *explained)
            assert is_known or any(each.describes(finding) for each in expected), _words(run)
        request.node.user_properties.append(("run", str(run.rundir)))
        # One that is intermittent does not show each time: it is counted apart.
        pytest.xfail("; ".join(interrupted(d) if d.intermittent else
                               f"{d.requirement}: {d.cause}" for d in expected))  # fmt: skip

    return check


def _tell_numbers(item: pytest.Item, run: Run) -> None:
    """What was measured, as properties: in JUnit and in avocado's results."""
    for finding in run.verdict.findings:
        if finding.numbers:
            name = f"{finding.requirement} in {run.history.scenario.name}"
            item.user_properties.append((name, msgspec.json.encode(finding.numbers).decode()))


def _words(run: Run) -> str:
    lines = [f"see {run.rundir}"]
    for finding in run.verdict.findings:
        if finding.outcome is not Outcome.VALID:
            lines.append(f"{finding.requirement} {finding.outcome}: {finding.sentence}")
            lines += [
                f"    {record.side} {record.kind} {record.name} {record.device} {record.args}"
                for record in finding.evidence
            ]
    return "\n".join(lines)
