"""What is asked of the list of builds, and of the recipe."""

import json
from pathlib import Path

import pytest

from harness.errors import PrerequisiteMissing
from harness.vm import fetched
from harness.vm.fetched import NAMES
from tests.unit.called import one_line


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(fetched, "CACHE", tmp_path)


def test_list_tells_each_name(call):
    status, out, _ = call("qemu", "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()][: len(NAMES)] == list(NAMES)


def test_list_as_json(call):
    status, out, _ = call("qemu", "list", "--json")
    assert status == 0
    assert {each["name"] for each in json.loads(out)["builds"]} >= set(NAMES)


def test_fetch_prints_the_path_of_each(call, monkeypatch):
    monkeypatch.setattr(fetched, "fetch", lambda name: Path("/cache") / name)
    assert call("qemu", "fetch", "a", "b")[:2] == (0, "/cache/a\n/cache/b\n")


def test_fetch_that_fails_is_one_line(call, monkeypatch):
    def refuse(_name):
        raise PrerequisiteMissing("no network")

    monkeypatch.setattr(fetched, "fetch", refuse)
    status, _, err = call("qemu", "fetch", "a")
    assert status == 3
    assert "no network" in one_line(err)
