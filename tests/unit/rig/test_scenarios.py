"""Scenarios with the kernel's devices run in a rig where this machine has none."""

import sys
from typing import Any

import msgspec
import pytest

from harness.errors import LostVM, PrerequisiteMissing
from harness.rig import image, rig, scenarios
from harness.scenario import EmulatedDevice, MdevDevice, Scenario, load
from tests.unit.devices.mdev_sysfs import FakeKernel

EMULATED = Scenario(name="emulated", devices=(EmulatedDevice(id="a"),))
MDEV = Scenario(name="mdev", devices=(MdevDevice(id="a"), EmulatedDevice(id="b")), deadline_s=50.0)


@pytest.fixture
def without(tmp_path):
    """Sysfs of a machine that has no mdev types."""
    kernel = FakeKernel(tmp_path / "kernel")
    for folder in kernel.types.iterdir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return kernel.bus


def test_only_mdev_devices_on_a_machine_without_any_type_need_it(tmp_path, without, monkeypatch):
    monkeypatch.delenv(rig.INSIDE, raising=False)
    monkeypatch.setattr("harness.devices.mdev.MdevBus", lambda: without)
    assert scenarios.is_needed([EMULATED, MDEV])
    assert not scenarios.is_needed([EMULATED])
    monkeypatch.setattr("harness.devices.mdev.MdevBus", lambda: FakeKernel(tmp_path).bus)
    assert not scenarios.is_needed([MDEV])


def test_inside_there_is_no_second_one(without, monkeypatch):
    monkeypatch.setenv(rig.INSIDE, "1")
    monkeypatch.setattr("harness.devices.mdev.MdevBus", lambda: without)
    assert not scenarios.is_needed([MDEV])


@pytest.fixture
def rigged(monkeypatch):
    """A rig that records what it was to run, and returns a status or raises."""
    seen: dict[str, Any] = {"end": 0}

    def run(command, folder, *, on_stdout, on_stderr, **settings):
        seen.update(settings, command=command, scenarios=[])
        names = [word for word in command if word.endswith(".json")]
        seen["scenarios"] = [load(folder / name) for name in names]
        (folder / "console.log").touch()
        on_stdout(b"out")
        if isinstance(seen["end"], BaseException):
            raise seen["end"]
        return seen["end"]

    monkeypatch.setattr(image, "find", lambda: None)
    monkeypatch.setattr(rig, "run", run)
    return seen


def test_the_same_scenarios_run_there_and_the_status_comes_back(rigged, tmp_path, capfdbinary):
    runs, more = tmp_path / "runs", tmp_path / "more"
    rigged["end"] = 1
    assert scenarios.run([MDEV, EMULATED], runs, ["--json"], writable=[more]) == 1
    assert rigged["scenarios"] == [MDEV, EMULATED]
    command = rigged["command"]
    assert command[:4] == [sys.executable, "-m", "harness.cli", "run"]
    assert command[-3:] == ["--runs", str(runs), "--json"]
    assert rigged["writable"] == (runs, more)
    assert capfdbinary.readouterr().out == b"out"


@pytest.mark.parametrize(("status", "stays"), [(0, False), (1, True), (2, True), (3, True)])
def test_the_rigs_own_folder_stays_unless_all_was_valid(rigged, tmp_path, status, stays):
    rigged["end"] = status
    scenarios.run([MDEV], tmp_path, [])
    assert (tmp_path / "rig-0001" / "console.log").exists() is stays
    assert bool(list(tmp_path.iterdir())) is stays


def test_console_of_a_lost_rig_stays(rigged, tmp_path):
    rigged["end"] = LostVM("lost")
    with pytest.raises(LostVM):
        scenarios.run([MDEV], tmp_path, [])
    assert (tmp_path / "rig-0001" / "console.log").exists()


def test_rig_that_was_not_even_started_leaves_nothing(rigged, tmp_path):
    rigged["end"] = PrerequisiteMissing("no QEMU")
    with pytest.raises(PrerequisiteMissing):
        scenarios.run([MDEV], tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_time_is_given_for_each_migration(rigged, tmp_path):
    scenarios.run([MDEV], tmp_path, [])
    one = rigged["deadline_s"]
    then = msgspec.structs.replace(MDEV, then=(MDEV,))
    scenarios.run([then, MDEV], tmp_path, [])
    assert rigged["deadline_s"] >= one + 4 * MDEV.deadline_s


def test_no_rig_is_one_line(tmp_path, monkeypatch):
    def find():
        raise PrerequisiteMissing("the rig is not built: make rig")

    monkeypatch.setattr(image, "find", find)
    with pytest.raises(PrerequisiteMissing, match="no mdev devices, and the rig is not"):
        scenarios.run([MDEV], tmp_path / "runs", [])
    assert not (tmp_path / "runs").exists()


def test_type_that_the_rig_lacks_is_one_line_before_it_boots(rigged, tmp_path):
    wanted = msgspec.structs.replace(MDEV, devices=(MdevDevice(id="a", type="mtty-3"),))
    with pytest.raises(PrerequisiteMissing, match="a: there is no type mtty-3; did you"):
        scenarios.run([MDEV, wanted], tmp_path, [])
    assert "command" not in rigged
