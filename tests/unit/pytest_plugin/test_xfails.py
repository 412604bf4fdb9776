"""Expected failures at the end of a run: one line for each reason."""

import pytest

from tests.unit.pytest_plugin.settings import INI

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_shows(number): pytest.xfail("REF-1: never ends")

@pytest.mark.xfail(reason="ORD-5: other cause")
def test_other(): assert 0

@pytest.mark.xfail
def test_bare(): assert 0

def test_passes(): pass
"""


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(TESTS)


def test_each_reason_is_one_line_with_its_count(pytester) -> None:
    done = pytester.runpytest("-p", "no:randomly", "-n", "0", "-rfEsX")
    lines = [line for line in done.outlines if line.startswith("XFAIL")]
    assert lines[0] == "XFAIL [3] REF-1: never ends"
    assert sorted(lines[1:]) == ["XFAIL [1] ORD-5: other cause", "XFAIL [1] no reason given"]
    assert done.ret == 0


def test_pytests_own_list_is_not_repeated(pytester) -> None:
    done = pytester.runpytest("-p", "no:randomly", "-n", "0", "-ra")
    assert not [line for line in done.outlines if line.startswith("XFAIL [")]
    assert sum(line.startswith("XFAIL ") for line in done.outlines) == 5


def test_run_without_any_says_nothing(pytester) -> None:
    done = pytester.runpytest("-p", "no:randomly", "-n", "0", "-k", "passes")
    assert not any("expected failures" in line for line in done.outlines)
