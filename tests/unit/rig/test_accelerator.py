"""KVM is believed only when a kernel has booted under it; that is remembered."""

import msgspec
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
    [("echo 'no such accelerator'; exit 1", "no such accelerator"), ("exit 1", "no output"),
     (STUCK, "KVM internal error")],
)  # fmt: skip
def test_anything_else_has_not(qemu, image, program, words):
    path = qemu(program)
    assert not accelerator.can_kvm_boot(path, image)
    assert words in accelerator.probe(path, image).found
    assert starts(path) == 1


def test_kernel_that_hangs_has_not(qemu, image, monkeypatch):
    monkeypatch.setattr(accelerator, "PROBE_TIMEOUT_S", 0.5)
    assert not accelerator.can_kvm_boot(qemu("sleep 60"), image)


def test_answer_is_remembered_for_each_qemu_and_kernel(qemu, image, tmp_path):
    path = qemu(BOOTED)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.chmod(0o755)
    newer = msgspec.structs.replace(image, kernel="6.99-amd64")
    link = tmp_path / "link"
    link.symlink_to(path)
    for _ in range(2):
        assert accelerator.can_kvm_boot(path, image)
        assert accelerator.can_kvm_boot(link, image)
        assert accelerator.can_kvm_boot(other, image)
        assert accelerator.can_kvm_boot(path, newer)
    assert starts(path) == 3


def test_after_a_boot_of_the_machine_it_is_asked_again(qemu, image, tmp_path, monkeypatch):
    path = qemu(BOOTED)
    accelerator.can_kvm_boot(path, image)
    other = tmp_path / "boot_id"
    other.write_text("another\n")
    monkeypatch.setattr(accelerator, "_BOOT_ID", other)
    accelerator.can_kvm_boot(path, image)
    assert starts(path) == 2


def test_damaged_memory_is_none(qemu, image):
    path = qemu(BOOTED)
    (image.folder / "kvm.json").write_text("{")
    assert accelerator.can_kvm_boot(path, image)
    assert accelerator.can_kvm_boot(path, image)
    assert starts(path) == 1


def test_without_the_device_nothing_is_started(qemu, image, device):
    device.unlink()
    path = qemu(BOOTED)
    assert not accelerator.can_kvm_boot(path, image)
    assert starts(path) == 0
