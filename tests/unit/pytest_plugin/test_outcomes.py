"""What --outcomes tells, one line for each way in which a test can end."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.unit.pytest_plugin.settings import INI

TESTS = """
import pytest
@pytest.mark.requirement("ORD-1")
def test_passes(record_property): record_property("bytes", 7)
@pytest.mark.xfail(reason="is known", strict=True)
def test_xfails(): assert 0
@pytest.mark.xfail(reason="is known", strict=True)
def test_xpasses_strictly(): pass
@pytest.mark.xfail(reason="is known", strict=False)
def test_xpasses(): pass
def test_xfails_by_call(): pytest.xfail("seen")
@pytest.mark.skip(reason="no hardware")
def test_skips(): pass
def test_fails(): assert 1 == 2, "words"
@pytest.fixture
def before(): raise OSError("not up")
def test_setup(before): pass
@pytest.fixture
def after():
    yield
    raise OSError("not down")
def test_teardown(after): pass
def test_fails_and_teardown(after): assert 0, "words"
"""


@pytest.fixture
def told(pytester: pytest.Pytester):
    """Runs pytest over the files that are there; the lines, by kind."""
    pytester.makeini(INI)

    def run(*options: str) -> dict[str, list[dict]]:
        pytester.runpytest("--outcomes=told", "-p", "no:randomly", *options)
        lines: dict[str, list[dict]] = {}
        for line in (pytester.path / "told").read_text().splitlines():
            lines.setdefault(json.loads(line)["kind"], []).append(json.loads(line))
        return lines

    return run


def test_each_way_to_end_is_told_apart_with_its_reason(told, pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    ended = told()["ended"]
    assert {line["nodeid"].partition("::test_")[2]: (line["outcome"], line["reason"])
            for line in ended} == {
        "passes": ("passed", ""),
        "xfails": ("xfailed", "is known"),
        "xpasses_strictly": ("failed", "[XPASS(strict)] is known"),
        "xpasses": ("xpassed", "is known"),
        "xfails_by_call": ("xfailed", "seen"),
        "skips": ("skipped", "no hardware"),
        "fails": ("failed", "AssertionError: words assert 1 == 2"),
        "setup": ("error", "setup: OSError: not up"),
        "teardown": ("error", "teardown: OSError: not down"),
        "fails_and_teardown": ("failed", "AssertionError: words assert 0"),
    }  # fmt: skip
    first = ended[0]
    assert ["bytes", 7] in first["properties"]
    assert ["requirement", "ORD-1"] in first["properties"]
    assert set(first["seconds"]) == {"setup", "call", "teardown"}
    assert "not down" in ended[-1]["details"], "both errors are told"


def test_collection_is_told_without_a_run(told, pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    lines = told("--collect-only")
    assert lines["started"] == [{"kind": "started", "rootdir": str(pytester.path)}]
    assert len(lines["collected"]) == 10
    assert lines["collected"][0]["requirements"] == ["ORD-1"]
    assert lines["collected"][1]["marks"] == ["xfail"]
    assert "ended" not in lines


def test_file_that_is_not_collected_is_told(told, pytester) -> None:
    pytester.makepyfile(
        test_broken="import no_such_module_of_ours",
        test_skips="import pytest\npytest.skip('not here', allow_module_level=True)",
    )
    lines = told()["not collected"]
    assert [(line["nodeid"], line["outcome"], line["reason"]) for line in lines] == [
        ("test_broken.py", "error",
         "ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
        ("test_skips.py", "skipped", "not here"),
    ]  # fmt: skip


def test_sigterm_tears_fixtures_down(pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(
        test_it="""
        import pathlib, signal, pytest
        @pytest.fixture
        def up():
            yield
            pathlib.Path("torn-down").touch()
        def test_it(up):
            print("standing", flush=True)
            signal.pause()
        """
    )
    argv = [sys.executable, "-m", "pytest", "-s", "-p", "no:xdist", "--outcomes=told"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        while b"standing" not in process.stdout.readline():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
    assert (pytester.path / "torn-down").exists()
