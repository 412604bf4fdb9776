"""The kernel's VFIO and the rig: each row shows what is there, and is never missing."""

import pytest

from harness.doctor import kernel_vfio
from harness.doctor.check import State
from harness.errors import PrerequisiteMissing
from harness.rig import accelerator
from harness.rig.image import Image
from harness.rig.rig import INSIDE
from tests.unit.devices.mdev_sysfs import FakeKernel


@pytest.fixture(autouse=True)
def _no_kvm(tmp_path, monkeypatch):
    """No test boots a kernel."""
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")


def test_nothing_of_it_is_needed_for_the_main_job():
    checks = list(kernel_vfio.all_of())
    assert State.MISSING not in {check.state for check in checks}
    assert len({check.what for check in checks}) == len(checks) == 4


def test_modules_that_are_not_loaded_are_named(tmp_path):
    for name in ("vfio", "mdev"):
        (tmp_path / "module" / name).mkdir(parents=True)
    check = kernel_vfio.modules(tmp_path)
    assert (check.state, check.found) == (State.OPTIONAL, "loaded: vfio, mdev")
    assert check.fix.startswith(
        "run as root: modprobe -a vfio_iommu_type1 vfio_pci, or use the rig"
    )
    for name in ("vfio_iommu_type1", "vfio_pci"):
        (tmp_path / "module" / name).mkdir()
    assert kernel_vfio.modules(tmp_path).state is State.OK


def test_in_a_rig_no_other_one_is_recommended(tmp_path, monkeypatch):
    assert "rig run" in kernel_vfio.modules(tmp_path).fix
    monkeypatch.setenv(INSIDE, "1")
    assert "rig" not in kernel_vfio.modules(tmp_path).fix
    assert kernel_vfio.rig().found == "this is one"


def test_mdev_types_with_what_is_left_of_them(tmp_path):
    check = kernel_vfio.mdev_types(FakeKernel(tmp_path, ports=3).bus)
    assert check.state is State.OK
    assert check.found == "mtty-1 of mtty (3 left), mtty-2 of mtty (1 left)"


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A rig, a QEMU and a /dev/kvm; the image."""
    image = Image(tmp_path, "6.12.0-amd64", "6.12.0-1", "1.42")
    (tmp_path / "kvm").touch()
    monkeypatch.setattr("harness.rig.image.find", lambda: image)
    monkeypatch.setattr("harness.vm.builds.find", lambda: tmp_path / "qemu")
    return image


def test_rig_that_is_not_built_is_reported_with_the_command_that_builds_it(built, monkeypatch):
    assert "Linux 6.12.0-amd64" in kernel_vfio.rig().found

    def find():
        raise PrerequisiteMissing("the rig is not built: run `make rig`")

    monkeypatch.setattr("harness.rig.image.find", find)
    check = kernel_vfio.rig()
    assert (check.state, check.fix) == (State.OPTIONAL, "make rig")


@pytest.mark.parametrize(("boots", "state"), [(True, State.OK), (False, State.OPTIONAL)])
def test_kvm_is_what_a_boot_has_shown(built, monkeypatch, boots, state):
    probe = accelerator.Probe("id", "qemu", built.kernel, boots, "what was seen")
    monkeypatch.setattr(accelerator, "probe", lambda _qemu, _image: probe)
    check = kernel_vfio.kvm()
    assert check.state is state
    assert check.found.startswith("what was seen")


def test_kvm_without_rig_or_device_is_not_tried(built, monkeypatch):
    def find():
        raise PrerequisiteMissing("the rig is not built: run `make rig`")

    monkeypatch.setattr("harness.rig.image.find", find)
    check = kernel_vfio.kvm()
    assert check.state is State.OPTIONAL
    assert check.found.endswith("not tried: the rig is not built: run `make rig`")
    accelerator.DEVICE.unlink()
    assert "no " in kernel_vfio.kvm().found
