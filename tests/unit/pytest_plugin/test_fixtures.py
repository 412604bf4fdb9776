"""The plugin as a user's project meets it, on saved runs: no QEMU is started."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.unit.pytest_plugin.settings import INI

DATA = Path(__file__).parents[2] / "data"
HEAD = f"""
from pathlib import Path
import pytest
from harness.check.judge import judge
from harness.check.verdict import Finding, Outcome, Verdict
from harness.history.rundir import load
from harness.job.run import Run

def saved(name):
    history = load(Path({str(DATA)!r}) / name)
    return Run(Path("runs") / name, history, judge(history))

def also(name, requirement, shape):
    run = saved(name)
    more = Finding(
        requirement=requirement, outcome=Outcome.VIOLATED, sentence="it is so", shape=shape
    )
    return Run(run.rundir, run.history, Verdict.of([*run.verdict.findings, more], dict()))
"""


@pytest.fixture(autouse=True)
def settings(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)


@pytest.fixture
def project(pytester: pytest.Pytester):
    """Runs a project with the one test whose body is given; the result."""

    def run(body: str, *options: str) -> pytest.RunResult:
        indented = "\n    ".join(body.strip().splitlines())
        pytester.makepyfile(f"{HEAD}\ndef test_it(kept, results_dir):\n    {indented}\n")
        return pytester.runpytest("-p", "no:randomly", "-rA", *options)

    return run


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("kept(saved('good/two-devices'), 'ORD-1', 'ORD-6')", "passed"),
        ("kept(saved('violated/ORD-1/lost-buffer'), 'ORD-1')", "failed"),
        # Another requirement is valid, but the run as a whole is not.
        ("kept(saved('violated/ORD-1/lost-buffer'), 'ORD-2')", "failed"),
        # Not asked is not kept.
        ("kept(saved('good/blocked'), 'ORD-1')", "failed"),
        (
            "kept(saved('violated/ORD-4/interrupt-line'), 'ORD-4',"
            " case='guest writes the interrupt line')",
            "xfailed",
        ),
        # The same deviation under another case is excused nowhere.
        ("kept(saved('violated/ORD-4/interrupt-line'), 'ORD-4')", "failed"),
        # What another requirement's deviation describes is excused there only.
        (
            "kept(also('violated/ORD-4/interrupt-line', 'REF-1',"
            " 'accepted-data-after-configuration'), 'ORD-4',"
            " case='guest writes the interrupt line')",
            "failed",
        ),
        # A shape that no deviation of the requirement has.
        (
            "kept(also('violated/ORD-4/interrupt-line', 'REF-7', 'accepted-something-new'),"
            " 'ORD-4', case='guest writes the interrupt line')",
            "failed",
        ),
        (
            "kept(also('violated/ORD-4/interrupt-line', 'REF-7',"
            " 'accepted-data-after-configuration'), 'ORD-4',"
            " case='guest writes the interrupt line')",
            "xfailed",
        ),
        # Known, but it does not show any more.
        (
            "kept(saved('good/two-devices'), 'ORD-4', case='guest writes the interrupt line')",
            "failed",
        ),
    ],
)
def test_kept_passes_fails_or_expects_the_failure(project, body: str, outcome: str) -> None:
    project(body).assert_outcomes(**{outcome: 1})


def test_failure_is_told_in_the_words_of_the_verdict(project) -> None:
    result = project("kept(saved('violated/ORD-1/lost-buffer'), 'ORD-1')")
    result.stdout.fnmatch_lines(
        ["*ORD-1 violated: vfio0 received 1048593 bytes*", "*destination device received vfio0*"]
    )


def test_results_stay_only_where_the_test_failed_or_they_are_wanted(project, pytester) -> None:
    write = "(results_dir / 'evidence').write_text('x')"
    assert project(write, "--runs", "passed").ret == 0
    assert not list(pytester.path.glob("passed/*"))
    assert project(write, "--runs", "wanted", "--keep-runs").ret == 0
    assert len(list(pytester.path.glob("wanted/*/evidence"))) == 1
    for _ in range(2):
        assert project(f"{write}\nassert False", "--runs", "failed").ret == 1
    assert len(list(pytester.path.glob("failed/*/evidence"))) == 2, "the first was overwritten"


def test_requirement_and_run_stand_in_junit(project, pytester) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.mark.requirement('ORD-1', 'ORD-2')\ndef test_it(results_dir):\n"
        "    assert False\n"
    )
    pytester.runpytest("--junit-xml", "junit.xml")
    text = (pytester.path / "junit.xml").read_text()
    assert 'name="requirement" value="ORD-1"' in text
    assert 'name="requirement" value="ORD-2"' in text
    assert 'name="run"' in text


def test_unusable_qemu_is_one_line(pytester) -> None:
    pytester.makepyfile("def test_it(qemu_src):\n    pass\n")
    result = pytester.runpytest("--qemu", "/no/such/qemu")
    result.stdout.fnmatch_lines(["*UsageError: --qemu: /no/such/qemu: no such QEMU*"])
    result.assert_outcomes(errors=1)


def test_pytest_loads_it_for_no_other_project() -> None:
    plugins = [each.value for each in entry_points(group="pytest11")]
    assert plugins, "pytest-asyncio, and others"
    assert not [name for name in plugins if name.startswith("harness")]
