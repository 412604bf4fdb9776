"""How many scenarios run at the same time by default."""

import os

import msgspec
import pytest

from harness.job import processors
from harness.scenario import EmulatedDevice, IvshmemDevice, MdevDevice, Scenario
from harness.scenario.guest_plan import Guest


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One with eight processors, and control groups with these limits, the outermost first."""

    def make(*limits, own="/a/b"):
        cgroup = tmp_path / "cgroup"
        group = tmp_path / "groups"
        cgroup.write_text(f"0::{own}\n")
        for name, limit in zip(("", "a", "b"), limits, strict=False):
            group /= name
            group.mkdir()
            if limit:
                (group / "cpu.max").write_text(f"{limit}\n")
        monkeypatch.setattr(processors, "_CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(processors, "_OWN", cgroup)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
        return processors.processors()

    return make


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ((), 8),
        (("", "max 100000", "max 100000"), 8),
        (("", "", "200000 100000"), 2),
        (("", "150000 100000", "max 100000"), 2),
        (("", "400000 100000", "50000 100000"), 1),
        (("1600000 100000", "", ""), 8),
        (("", "", "nonsense"), 8),
    ],
)
def test_limit_of_a_control_group_counts_also_of_one_around_it(machine, limits, count):
    assert machine(*limits) == count


def test_without_control_groups_the_processors_count(machine, monkeypatch, tmp_path):
    machine()
    monkeypatch.setattr(processors, "_OWN", tmp_path / "none")
    assert processors.processors() == 8


PLAIN = Scenario(name="plain", devices=(EmulatedDevice(id="vfio0"),))
GUEST = msgspec.structs.replace(PLAIN, guest=Guest(), ram_mib=256)
KERNEL = msgspec.structs.replace(PLAIN, devices=(MdevDevice(id="mdev0"),))


@pytest.mark.parametrize(
    ("scenarios", "count", "runs"),
    [
        ([PLAIN], 1, 2),
        ([PLAIN, PLAIN], 8, 16),
        ([PLAIN], 32, 32),
        ([PLAIN], 12, 16),
        ([PLAIN, GUEST], 8, 8),
        ([KERNEL], 8, 8),
    ],
)
def test_runs_at_the_same_time(monkeypatch, scenarios, count, runs):
    """Too few leave processors idle; too many guests, or uses of a device, hinder each other."""
    monkeypatch.setattr(processors, "processors", lambda: count)
    assert processors.runs_at_once(scenarios) == runs


PAIRS = [IvshmemDevice(id="vfio0").copy("vfio0", number) for number in (0, 1)]


@pytest.mark.parametrize(("numbers", "runs"), [((0, 1), 8), ((0, 1, 0), 1)])
def test_runs_with_the_same_device_follow_each_other(monkeypatch, numbers, runs):
    monkeypatch.setattr(processors, "processors", lambda: 8)
    wanted = [Scenario(name="x", devices=(PAIRS[number],)) for number in numbers]
    assert processors.runs_at_once(wanted) == runs
