"""``--expect`` and ``--expect-update`` as a user's project meets them; no QEMU is started."""

import os
from pathlib import Path

import pytest

from harness.check.deviations import Deviation
from harness.errors import PrerequisiteMissing
from harness.pytest_plugin import counting, expected
from harness.rig import image
from harness.vm import builds, fetched
from tests.unit.pytest_plugin.settings import INI

FACTS: expected.Facts = {"source": "10.0", "destination": "10.0", "root": True}
KNOWN = Deviation(requirement="LIF-2", case="c", versions=">=10.0", shape="s", cause="a cause")
TESTS = """
import pytest
from harness.pytest_plugin.counting import interrupted
from tests_of import KNOWN

def test_passes(): pass
def test_shows(): pytest.xfail("REF-1: as ever")
@pytest.mark.parametrize("number", range(2))
def test_needs(number): pytest.skip("not here")
{more}
"""
COUNTS = "known_deviation = 1\nskipped = 2\nintermittent_at_most = 1"
EXPECTED = f'[machine]\nsource = "10.0"\n[tests.unit]\n{COUNTS}\n'
MORE = "def test_more(): pytest.skip('nor here')"
TAKEN = "def test_taken(): pytest.xfail(interrupted(KNOWN))"


@pytest.fixture(autouse=True)
def settings(pytester: pytest.Pytester, monkeypatch) -> None:
    pytester.makeini(INI + "testpaths = tests/unit\npythonpath = .\n")
    (pytester.path / "tests_of.py").write_text(
        f"from harness.check.deviations import Deviation\nKNOWN = {KNOWN!r}\n"
    )
    monkeypatch.setattr(counting, "facts", lambda *_qemus: FACTS)
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def project(pytester: pytest.Pytester):
    """Runs a project with the tests of ``TESTS`` and more; status and lines about counts."""

    def run(more: str = "", *options: str, text: str | None = EXPECTED) -> tuple[int, list[str]]:
        folder = pytester.path / "tests" / "unit" / "below"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_it.py").write_text(TESTS.format(more=more))
        if text is not None:
            (pytester.path / "kind.toml").write_text(text)
        done = pytester.runpytest("-p", "no:randomly", "-rsx", *options)
        lines = [line for line in done.outlines if line.startswith("expected counts: ")]
        # They are the last before pytest's closing line: a CI may show the end only.
        closing = -1 if done.outlines[-1] else -2
        assert done.outlines[closing - len(lines) : closing] == lines
        return int(done.ret), lines

    return run


EXPECT = ("--expect", "kind.toml")


def test_as_expected_says_nothing(project) -> None:
    assert project("", *EXPECT) == (0, [])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_difference_fails_in_one_line(project, workers: str) -> None:
    status, (line,) = project(MORE, *EXPECT, "-n", workers)
    assert status == 1
    assert line == (
        "expected counts: tests/unit: 3 skipped, not 2; if that is right, `make expected` "
        "rewrites kind.toml"
    )


def test_test_more_that_passes_is_no_difference(project) -> None:
    assert project("def test_more(): pass", *EXPECT) == (0, [])


def test_without_the_option_nothing_is_compared(project) -> None:
    assert project(MORE) == (0, [])


def test_skip_of_a_whole_file_is_seen(project, pytester) -> None:
    folder = pytester.path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_gone.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    status, (line,) = project("", *EXPECT)
    assert status == 1
    assert "3 skipped, not 2" in line


def test_intermittent_deviation_is_told_from_the_others(project) -> None:
    assert project(TAKEN, *EXPECT) == (0, [])
    never = EXPECTED.replace("at_most = 1", "at_most = 0")
    status, (line,) = project(TAKEN, *EXPECT, text=never)
    assert status == 1
    assert "1 intermittent deviations, not at most 0" in line


@pytest.mark.parametrize(
    "part",
    [
        ("-k", "more"),
        ("tests/unit/below",),
        ("tests/unit/below/test_it.py::test_more",),
        ("--collect-only",),
        ("--lf",),
        ("--ignore", "tests/unit/other"),
    ],
)
def test_part_of_a_folder_is_not_compared(project, part: tuple[str, ...]) -> None:
    assert project(MORE, *EXPECT, *part) == (0, [])


@pytest.mark.parametrize("whole", ["tests", "tests/unit"])
def test_whole_folder_that_is_named_is_compared(project, whole: str) -> None:
    assert project(MORE, *EXPECT, whole)[0] == 1
    assert project("", *EXPECT, whole)[0] == 0


def test_failure_is_told_without_the_counts(project) -> None:
    assert project("def test_bad(): assert False", *EXPECT) == (1, [])


def test_kind_of_machine_that_has_no_file_fails_in_ci_only(project, pytester, monkeypatch) -> None:
    (pytester.path / "expected").mkdir()
    status, (line,) = project("", "--expect", "expected")
    assert status == 0
    assert 'expected has none for this kind of machine (source = "10.0", ' in line
    monkeypatch.setenv("CI", "true")
    assert project("", "--expect", "expected")[0] == 1


def test_folder_that_the_file_does_not_know_is_a_difference(project) -> None:
    status, (line,) = project("", *EXPECT, text='[machine]\nsource = "10.0"\n')
    assert status == 1
    assert "tests/unit: it is not there" in line


def test_file_that_cannot_be_used_is_one_line(project) -> None:
    status, (line,) = project("", *EXPECT, text="[machine")
    assert status == 1
    assert "kind.toml: no expected counts" in line


def test_update_makes_and_then_rewrites_the_file(project, pytester) -> None:
    folder = Path("tests/expected")
    assert project("", "--expect-update") == (
        0,
        [f"expected counts: written to {folder}/qemu-10.0.toml"],
    )
    made = expected.load(pytester.path / folder / "qemu-10.0.toml")
    assert made.machine == FACTS
    assert project("", "--expect", str(folder)) == (0, [])
    assert project(MORE, "--expect", str(folder))[0] == 1
    status, lines = project(f"{MORE}\n{TAKEN}", "--expect-update")
    assert status == 0
    assert "1 tests met an intermittent deviation" in lines[1]
    assert project(f"{MORE}\n{TAKEN}", "--expect", str(folder)) == (0, [])


def test_new_kind_takes_no_other_s_file(project, pytester) -> None:
    folder = pytester.path / "tests" / "expected"
    folder.mkdir(parents=True)
    other = EXPECTED.replace("[tests", "root = false\n[tests")
    (folder / "qemu-10.0.toml").write_text(other)
    project("", "--expect-update")
    assert (folder / "qemu-10.0.toml").read_text() == other
    assert (folder / "qemu-10.0-1.toml").exists()


# -- facts --------------------------------------------------------------------------------


def qemu(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    path = folder / builds.BINARY
    path.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def facts(monkeypatch, tmp_path):
    """The true function, of a machine with the builds that are given."""
    monkeypatch.undo()
    monkeypatch.setattr(fetched, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(image, "find", lambda: tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return counting.facts


def test_facts_are_those_of_the_builds_and_the_machine(facts, tmp_path) -> None:
    source = qemu(tmp_path / "cache" / "old", "10.0.13")
    qemu(tmp_path / "cache" / "older", "10.0.2")
    destination = qemu(tmp_path / "cache" / "new", "11.1.3 (Debian)")
    told = facts(str(source), str(destination))
    assert (told["source"], told["destination"]) == ("10.0", "11.1")
    assert told["builds"] == ["10.0", "10.0", "11.1"]
    assert told["rig"] is True
    assert told["root"] is True
    assert facts(str(source), "")["destination"] == "10.0"


def test_no_rig_and_no_root_are_seen(facts, monkeypatch, tmp_path) -> None:
    def missing() -> None:
        raise PrerequisiteMissing("the rig is not built")

    monkeypatch.setattr(image, "find", missing)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = facts(str(qemu(tmp_path / "one", "10.0.13")), "")
    assert (told["rig"], told["root"], told["builds"]) == (False, False, [])
