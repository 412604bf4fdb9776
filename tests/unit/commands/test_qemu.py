"""``qemu``: the builds that are here, by which name, and what can be fetched."""

import json
from pathlib import Path

import pytest

from harness.commands import qemu
from harness.errors import PrerequisiteMissing
from harness.vm import fetched
from harness.vm.builds import BINARY, ENVIRONMENT
from harness.vm.fetched import NAMES
from tests.unit.called import one_line


@pytest.fixture(autouse=True)
def make(tmp_path, monkeypatch):
    """A machine without any QEMU; makes one."""
    monkeypatch.setattr(fetched, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)

    def build(folder, version="10.0.13", *, has_manifest=True):
        path = tmp_path / folder / BINARY
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        path.chmod(0o755)
        manifest = {
            "name": path.parent.name, "qemu": version, "debian": "1:1", "suite": "trixie",
            "architecture": "x86_64", "fetched": "2026-11-23",
        }  # fmt: skip
        if has_manifest:
            (path.parent / fetched.MANIFEST).write_text(json.dumps(manifest))
        return path

    return build


def lines():
    return list(qemu.lines(qemu.known()))


def test_machine_without_qemu_is_told_what_could_be_had():
    assert [each.name for each in qemu.known()] == list(NAMES)
    assert not any(each.path or each.is_default for each in qemu.known())
    assert all(f"`vfio-multifd qemu fetch {name}` gets" in line
               for name, line in zip(NAMES, lines(), strict=True))  # fmt: skip


def test_fetched_build_is_told_with_version_and_path(make):
    path = make("cache/debian-13")
    first = qemu.known()[0]
    assert (first.version, first.path, first.is_default) == ("10.0.13", str(path), True)
    assert first.manifest is not None
    assert lines()[0].split() == [
        "debian-13", "10.0.13", str(path), "(default)",
    ]  # fmt: skip


def test_build_on_the_path_and_that_of_the_environment_are_told_so(make, monkeypatch):
    on_path, named = make("bin", "11.0.0"), make("tree/build", "11.1.50")
    monkeypatch.setenv(ENVIRONMENT, str(named.parent.parent))
    found = {each.path: each for each in qemu.known()}
    assert found[str(on_path)].found == ("PATH",)
    assert found[str(named)].found == (ENVIRONMENT,)
    assert found[str(named)].is_default
    assert not found[str(on_path)].is_default


def test_fetched_build_that_the_environment_names_is_told_once(make, monkeypatch):
    path = make("cache/debian-13")
    monkeypatch.setenv(ENVIRONMENT, "debian-13")
    (found,) = [each for each in qemu.known() if each.path == str(path)]
    assert found.found == (ENVIRONMENT,)


def test_build_that_cannot_be_used_is_told_with_why(make, monkeypatch):
    make("cache/debian-13", has_manifest=False)
    monkeypatch.setenv(ENVIRONMENT, "/none/qemu")
    told = "\n".join(lines())
    assert "manifest.json: cannot read" in told
    assert "/none/qemu" in told
    assert "cannot execute" in told


def test_json_has_the_same(make):
    make("cache/mine")
    found = json.loads(qemu.document(qemu.known()))["builds"]
    assert [each["name"] for each in found] == [*NAMES, "mine"]
    assert found[-1]["manifest"]["suite"] == "trixie"
    assert found[0]["path"] == ""


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
