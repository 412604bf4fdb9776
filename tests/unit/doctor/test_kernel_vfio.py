"""The kernel's VFIO and the rig: each row tells what is there; none is ever missing."""

import os
import resource

import pytest

from harness.doctor import kernel_vfio
from harness.doctor.check import State
from harness.errors import PrerequisiteMissing
from harness.rig import accelerator
from harness.rig.image import Image
from harness.rig.rig import INSIDE
from tests.unit.devices.mdev_sysfs import FakeKernel


def test_nothing_of_it_is_needed_for_the_main_job():
    checks = list(kernel_vfio.all_of())
    assert State.MISSING not in {check.state for check in checks}
    assert len({check.what for check in checks}) == len(checks) == 7


def test_iommu_with_its_groups(tmp_path):
    assert kernel_vfio.iommu(tmp_path).state is State.OPTIONAL
    (tmp_path / "class/iommu/dmar0").mkdir(parents=True)
    assert kernel_vfio.iommu(tmp_path).state is State.OPTIONAL
    for group in "01":
        (tmp_path / "kernel/iommu_groups" / group).mkdir(parents=True)
    check = kernel_vfio.iommu(tmp_path)
    assert (check.state, check.found) == (State.OK, "dmar0; 2 groups")


def test_modules_that_are_not_loaded_are_named(tmp_path):
    for name in ("vfio", "mdev"):
        (tmp_path / "module" / name).mkdir(parents=True)
    check = kernel_vfio.modules(tmp_path)
    assert (check.state, check.found) == (State.OPTIONAL, "loaded: vfio, mdev")
    assert check.mend.startswith("as root: modprobe -a vfio_iommu_type1 vfio_pci, or in a rig")
    for name in ("vfio_iommu_type1", "vfio_pci"):
        (tmp_path / "module" / name).mkdir()
    assert kernel_vfio.modules(tmp_path).state is State.OK


def test_in_a_rig_no_other_one_is_recommended(tmp_path, monkeypatch):
    assert "rig run" in kernel_vfio.iommu(tmp_path).mend
    monkeypatch.setenv(INSIDE, "1")
    assert "rig" not in kernel_vfio.iommu(tmp_path).mend


def test_iommufd(tmp_path):
    assert kernel_vfio.iommufd(tmp_path).state is State.OPTIONAL
    (tmp_path / "iommu").touch()
    assert kernel_vfio.iommufd(tmp_path).state is State.OK


def test_mdev_types_with_what_is_left_of_them(tmp_path):
    check = kernel_vfio.mdev_types(FakeKernel(tmp_path, ports=3).bus)
    assert check.state is State.OK
    assert check.found == "mtty-1 of mtty (3 left), mtty-2 of mtty (1 left)"


@pytest.mark.parametrize(
    ("limits", "state", "mend"),
    [
        ((8 << 20, 8 << 20), State.OPTIONAL, "ulimit -l 131072, as root"),
        ((8 << 20, -1), State.OPTIONAL, "ulimit -l 131072"),
        ((128 << 20, -1), State.OK, ""),
        ((-1, -1), State.OK, ""),
    ],
)
def test_memlock(monkeypatch, limits, state, mend):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits)
    check = kernel_vfio.memlock()
    assert (check.state, check.mend) == (state, mend)


def test_root_locks_what_it_wants(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (0, 0))
    assert kernel_vfio.memlock().state is State.OK


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A rig, a QEMU and a /dev/kvm; the image."""
    image = Image(tmp_path, "6.12.0-amd64", "6.12.0-1", "1.42")
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr("harness.rig.image.find", lambda: image)
    monkeypatch.setattr("harness.vm.builds.find", lambda: tmp_path / "qemu")
    return image


def test_rig_that_is_not_built_is_told_how(built, monkeypatch):
    assert "Linux 6.12.0-amd64" in kernel_vfio.rig().found

    def find():
        raise PrerequisiteMissing("the rig is not built: make rig")

    monkeypatch.setattr("harness.rig.image.find", find)
    check = kernel_vfio.rig()
    assert (check.state, check.mend) == (State.OPTIONAL, "make rig")


@pytest.mark.parametrize(("boots", "state"), [(True, State.OK), (False, State.OPTIONAL)])
def test_kvm_is_what_a_boot_has_shown(built, monkeypatch, boots, state):
    probe = accelerator.Probe("id", "qemu", built.kernel, boots, "what was seen")
    monkeypatch.setattr(accelerator, "remembered", lambda _qemu, _image: probe)
    check = kernel_vfio.kvm()
    assert (check.state, check.found) == (state, "what was seen")


def test_kvm_that_nobody_has_tried_is_told_how(built):
    check = kernel_vfio.kvm()
    assert (check.state, check.mend) == (State.OPTIONAL, "vfio-multifd rig run -- true")
    accelerator.DEVICE.unlink()
    assert "no " in kernel_vfio.kvm().found
    assert not kernel_vfio.kvm().mend
