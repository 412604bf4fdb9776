"""The suffix of a report file selects its type."""

import json
import os
import xml.etree.ElementTree as ET

import pytest

from harness.errors import UsageError
from harness.report import files
from tests.unit.saved_runs import entry, report, save, valid_run


@pytest.fixture
def told(tmp_path):
    run = valid_run()
    return report(entry(run, save(run, tmp_path / "run")))


@pytest.mark.parametrize("kind", files.KINDS)
def test_each_kind_is_written(tmp_path, told, kind):
    path = tmp_path / f"report{kind}"
    files.check(path)
    files.write(path, told)
    text = path.read_text()
    match kind:
        case ".json":
            assert json.loads(text)["overall"] == "valid"
        case ".xml":
            assert ET.fromstring(text).tag == "testsuites"
        case ".tap":
            assert text.startswith("TAP version")
        case ".html":
            assert text.startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["report", "report.pdf", "report.HTM"])
def test_name_with_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"must end in \.html, \.json, \.tap, \.xml"):
        files.check(tmp_path / name)


def test_folder_that_is_not_there_is_made_when_it_is_written_unless_a_file_is_in_its_place(
    tmp_path,
):
    files.check(tmp_path / "no" / "such" / "report.tap")
    assert not (tmp_path / "no").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is not a folder"):
        files.check(tmp_path / "file" / "report.tap")


def test_folder_that_is_made_can_be_read_by_those_that_the_umask_allows(tmp_path, told):
    """A report is meant to be shared; a folder of it that only its owner enters hides it."""
    old = os.umask(0o022)
    try:
        files.write(tmp_path / "a" / "b" / "report.tap", told)
    finally:
        os.umask(old)
    made = (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "report.tap")
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o755, 0o644]


def test_file_that_cannot_be_written_is_reported(tmp_path, told):
    (tmp_path / "report.tap").mkdir()
    with pytest.raises(UsageError, match="cannot write the report"):
        files.write(tmp_path / "report.tap", told)
