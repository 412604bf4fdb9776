"""What pytest collects is what avocado runs; nothing is dropped."""

from pathlib import Path

import pytest
from avocado.core.resolver import ReferenceResolutionResult

from harness.avocado_plugin.resolver import PytestResolver

FOUND, NOT_FOUND = ReferenceResolutionResult.SUCCESS, ReferenceResolutionResult.NOTFOUND


def make_project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: x\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_two.py").write_text(
        "import pytest\n@pytest.mark.requirement('ORD-1', 'ORD-2')\n@pytest.mark.slow\n"
        "def test_a(): pass\n@pytest.mark.parametrize('x', [1, 2])\ndef test_b(x): pass\n"
    )
    (tmp_path / "tests" / "test_broken.py").write_text("import no_such_module_of_ours\n")
    (tmp_path / "tests" / "test_skips.py").write_text(
        "import pytest\npytest.skip('not here', allow_module_level=True)\n"
    )
    (tmp_path / "tests" / "notes.py").write_text("def test_a(): pass\n")
    (tmp_path / "tests" / "run.sh").write_text("#!/bin/sh\n")
    return tmp_path


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """A job of all of a project, which asks pytest once; none of its tests changes a thing."""
    folder = make_project(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        yield PytestResolver({"resolver.references": ["tests"]})


def resolve(*references: str, of: str = ""):
    resolver = PytestResolver({"resolver.references": list(references)})
    return resolver.resolve(of or references[0])


def test_each_test_of_a_file_is_a_runnable_with_its_marks(collected):
    found = collected.resolve("tests/test_two.py")
    assert found.result is FOUND
    assert [each.uri for each in found.resolutions] == [
        "tests/test_two.py::test_a",
        "tests/test_two.py::test_b[1]",
        "tests/test_two.py::test_b[2]",
    ]
    assert found.resolutions[0].tags == {"requirement": {"ORD-1", "ORD-2"}, "slow": None}
    assert {each.kwargs["rootdir"] for each in found.resolutions} == {str(Path.cwd())}


@pytest.mark.parametrize("name", ["broken", "skips"])
def test_file_that_gives_no_tests_is_one_runnable_that_tells_why(collected, name):
    found = collected.resolve(f"tests/test_{name}.py")
    assert [each.uri for each in found.resolutions] == [f"tests/test_{name}.py"]


def test_file_that_gives_no_tests_is_a_runnable_where_it_alone_is_asked_for(project):
    found = resolve("tests/test_broken.py")
    assert [each.uri for each in found.resolutions] == ["tests/test_broken.py"]


def test_conftest_that_fails_drops_no_file(project: Path):
    (project / "tests" / "conftest.py").write_text("import no_such_module_of_ours\n")
    found = resolve("tests", of="tests/test_two.py")
    assert [each.uri for each in found.resolutions] == ["tests/test_two.py"]


@pytest.mark.parametrize(
    "path", ["tests/notes.py", "tests/run.sh", "tests/conftest.py", "tests/none.py"]
)
def test_what_is_no_test_file_is_left_to_others(collected, path):
    assert collected.resolve(path).result is NOT_FOUND


def test_node_id_is_one_runnable(project):
    found = resolve("tests/test_two.py::test_b[2]")
    assert [each.uri for each in found.resolutions] == ["tests/test_two.py::test_b[2]"]


def test_node_ids_are_of_the_projects_root_wherever_it_is_asked_from(project, monkeypatch):
    monkeypatch.chdir(project / "tests")
    found = resolve("test_two.py")
    assert found.resolutions[0].uri == "tests/test_two.py::test_a"
    assert found.resolutions[0].kwargs["rootdir"] == str(project)
