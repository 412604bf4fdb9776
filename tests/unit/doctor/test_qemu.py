"""QEMU builds: what each lacks is reported, and which of them must be fit."""

import msgspec
import pytest

from harness.doctor import qemu
from harness.doctor.check import State
from harness.errors import PrerequisiteMissing
from harness.vm.builds import BINARY, ENVIRONMENT, Probe
from tests.unit.check.histories import FACTS

FIT = msgspec.structs.replace(FACTS, capabilities=("multifd",))
EVENTS = 'vfio_load_bufs_thread_start(const char *name) " (%s)"\n'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with only the builds that are made with it; all of them answer as ``FIT``."""
    monkeypatch.setattr("harness.vm.fetched.CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr("harness.vm.builds.probe_now", lambda _path: Probe(FIT, (), True))

    def make(folder, version="10.0.2"):
        path = tmp_path / folder / BINARY
        (path.parent / "trace").mkdir(parents=True)
        (path.parent / "trace" / "trace-events-all").write_text(EVENTS)
        path.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        path.chmod(0o755)
        return path

    return make


def states(*given):
    return [check.state for check in qemu.all_of([str(path) for path in given])]


def test_fit_build_is_reported_with_version_and_path(machine):
    path = machine("bin")
    (check,) = qemu.all_of([])
    assert check.state is State.OK
    assert "10.0.2 Debian" in check.found
    assert str(path) in check.found


def test_machine_without_qemu_gets_the_command_that_fetches_one(machine):
    (check,) = qemu.all_of([])
    assert check.state is State.MISSING
    assert "vfio-multifd qemu fetch debian-13" in check.fix


def test_only_the_build_that_a_run_takes_has_to_be_fit(machine, monkeypatch):
    machine("bin", "7.2.0")
    machine("cache/debian-13")

    def probe(path):
        if "bin" in path.parts:
            raise PrerequisiteMissing(f"{path}: QEMU 7.2.0 is too old")
        return Probe(FIT, (), True)

    monkeypatch.setattr("harness.vm.builds.probe_now", probe)
    assert states() == [State.OK, State.OPTIONAL]


def test_every_build_that_was_given_has_to_be_fit(machine, tmp_path):
    assert states(machine("a"), tmp_path / "gone") == [State.OK, State.MISSING]


def test_build_that_is_not_taken_is_shown_with_the_option_that_takes_it(machine):
    machine("bin")
    other = machine("cache/debian-13-backports")
    taken, left = qemu.all_of([])
    assert "to use it" not in taken.found
    assert f"--qemu {other}" in left.found


@pytest.mark.parametrize(
    ("facts", "has_log_backend", "words"),
    [
        ({"vfio_pci_properties": ()}, True, "x-migration-multifd-transfer"),
        ({"capabilities": ("events",)}, True, "capability multifd"),
        ({}, False, "log trace backend"),
    ],
)
def test_what_a_build_lacks_is_named(machine, monkeypatch, facts, has_log_backend, words):
    path = machine("a")
    lacking = Probe(msgspec.structs.replace(FIT, **facts), (), has_log_backend)
    monkeypatch.setattr("harness.vm.builds.probe_now", lambda _path: lacking)
    check = qemu.one(path, is_needed=True)
    assert check.state is State.MISSING
    assert words in check.found


@pytest.mark.parametrize("content", [None, "not trace events\n"])
def test_trace_events_that_cannot_be_read_are_a_lack(machine, content):
    path = machine("a")
    events = path.parent / "trace" / "trace-events-all"
    events.unlink() if content is None else events.write_text(content)
    check = qemu.one(path, is_needed=True)
    assert check.state is State.MISSING
    assert "trace-events-all" in check.found
