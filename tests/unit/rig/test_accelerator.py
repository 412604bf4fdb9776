"""KVM is believed only when a kernel has booted under it; that is remembered."""

import pytest

from harness.rig import accelerator

BOOTED = "echo '[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs'"
STUCK = "echo 'KVM internal error. Suberror: 1'; echo 'EAX=0'; sleep 60"


@pytest.fixture(autouse=True)
def device(tmp_path, monkeypatch):
    """A /dev/kvm that we may use."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accelerator, "DEVICE", device)
    return device


@pytest.fixture
def qemu(tmp_path):
    """Makes a QEMU that does what a shell program says, and counts its starts."""

    def qemu(program):
        path = tmp_path / "qemu"
        path.write_text(f"#!/bin/sh\necho >>{tmp_path}/starts\n{program}\n")
        path.chmod(0o755)
        return path

    return qemu


def starts(qemu):
    file = qemu.with_name("starts")
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_kernel_that_looks_for_its_root_has_booted(qemu, image):
    assert accelerator.can_kvm_boot(qemu(BOOTED), image)


@pytest.mark.parametrize(
    ("program", "words"),
    [("echo 'no such accelerator'; exit 1", "no such accelerator"), ("exit 1", "it says nothing"),
     (STUCK, "KVM internal error")],
)  # fmt: skip
def test_anything_else_has_not(qemu, image, program, words):
    path = qemu(program)
    assert not accelerator.can_kvm_boot(path, image)
    probe = accelerator.remembered(path, image)
    assert probe is not None
    assert words in probe.found


def test_kernel_that_hangs_has_not(qemu, image, monkeypatch):
    monkeypatch.setattr(accelerator, "PROBE_TIMEOUT_S", 0.5)
    assert not accelerator.can_kvm_boot(qemu("sleep 60"), image)


def test_answer_is_remembered(qemu, image):
    path = qemu(BOOTED)
    assert accelerator.remembered(path, image) is None
    assert accelerator.can_kvm_boot(path, image)
    assert accelerator.can_kvm_boot(path, image)
    assert starts(path) == 1


def test_after_a_boot_of_the_machine_it_is_asked_again(qemu, image, tmp_path, monkeypatch):
    path = qemu(BOOTED)
    accelerator.can_kvm_boot(path, image)
    other = tmp_path / "boot_id"
    other.write_text("another\n")
    monkeypatch.setattr(accelerator, "_BOOT_ID", other)
    assert accelerator.remembered(path, image) is None


def test_damaged_memory_is_none(qemu, image):
    path = qemu(BOOTED)
    (image.folder / "kvm.json").write_text("{")
    assert accelerator.remembered(path, image) is None


def test_without_the_device_nothing_is_started(qemu, image, device):
    device.unlink()
    path = qemu(BOOTED)
    assert not accelerator.can_kvm_boot(path, image)
    assert starts(path) == 0
