"""Whether KVM really boots a stock kernel: ``/dev/kvm`` alone does not show it."""

import contextlib
import os
from pathlib import Path

import msgspec

from harness.rig.follow import Pipe, follow
from harness.rig.image import Image

DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROBE_TIMEOUT_S = 20.0
# The last message of a kernel that has booted without a root file system.
_SIGN = b"Unable to mount root fs"
# QEMU's message for a guest that KVM cannot continue; QEMU then waits forever.
_STUCK = b"KVM internal error"


class Probe(msgspec.Struct, frozen=True):
    """The result of one trial, and what it is valid for."""

    boot_id: str
    """Of the machine: another boot may have another kernel and other permissions."""
    qemu: str
    kernel: str
    boots: bool
    found: str
    """One line for the user."""


def can_kvm_boot(qemu: Path, image: Image) -> bool:
    """Whether ``qemu`` boots the kernel of ``image`` by KVM."""
    return os.access(DEVICE, os.R_OK | os.W_OK) and probe(qemu, image).boots


def probe(qemu: Path, image: Image) -> Probe:
    """Boot the kernel of ``image`` by KVM, for at most 20 s.

    Each QEMU and kernel is tried once for each boot of this machine; the result is kept.
    """
    boot_id, path = _BOOT_ID.read_text().strip(), str(qemu.resolve())
    known = [each for each in _remembered(image) if each.boot_id == boot_id]
    for each in known:
        if (each.qemu, each.kernel) == (path, image.kernel):
            return each
    boots, found = _try(qemu, image)
    made = Probe(boot_id, path, image.kernel, boots, found)
    file = _file(image)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_bytes(msgspec.json.encode([*known, made]))
    new.replace(file)
    return made


def _remembered(image: Image) -> list[Probe]:
    """The results that were kept; none if they cannot be read."""
    try:
        return msgspec.json.decode(_file(image).read_bytes(), type=list[Probe])
    except (OSError, msgspec.DecodeError):
        return []


def _file(image: Image) -> Path:
    return image.folder / "kvm.json"


def _try(qemu: Path, image: Image) -> tuple[bool, str]:
    console = Pipe()
    seen = bytearray()

    def watch(data: bytes) -> None:
        seen.extend(data)
        if _STUCK in seen:
            raise _Stuck

    with contextlib.closing(console), contextlib.suppress(_Stuck):
        follow(
            [
                *(str(qemu), "-accel", "kvm", "-cpu", "host", "-m", "512", "-no-reboot"),
                *("-nodefaults", "-display", "none", "-serial", "stdio"),
                *("-kernel", str(image.vmlinuz), "-append", "console=ttyS0 panic=-1"),
            ],
            {console: watch},
            stderr=console,
            deadline_s=PROBE_TIMEOUT_S,
        )
    boots = _SIGN in seen
    found = f"boots {image.kernel}"
    if not boots:
        lines = [line for line in bytes(seen).split(b"\n") if line.strip()]
        said = [line for line in lines if _STUCK in line] or lines or [b"no output"]
        words = said[-1].decode(errors="backslashreplace").strip()
        found = f"does not boot {image.kernel} within {PROBE_TIMEOUT_S:g} s: {words}"
    return boots, found


class _Stuck(Exception):
    """There is nothing more to wait for."""
