"""The QEMU command line that boots a rig, as virtme-ng composes it.

virtme-ng can also start that QEMU, but as a grandchild, which outlives a harness that is
killed.  So it only prints the command line, and ``follow`` runs it.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import PrerequisiteMissing, UsageError
from harness.rig.image import Image
from harness.scenario import MIB
from harness.scenario.kernel_devices import IVSHMEM_SLOT
from harness.vm.process import GUARD

_COMPOSE_TIMEOUT_S = 60.0
INIT = Path(__file__).with_name("init.sh")
ROOT = "rig.root"
"""Tag by which the guest mounts our root file system once more, read-only, with a cache:
virtme-ng's mount has none, and each start of Python reads hundreds of files."""
PCI_SLOTS = (0x10, 0x11)
"""Slots on bus 0 of two network cards to pass through, each in an IOMMU group of its own."""
IVSHMEM_MIB = (16, 16, 16, 16, 64, 64)
"""Sizes of the memory of the functions that ``ivshmem_vfio_pci`` migrates, which follow the cards,
each in an IOMMU group of its own.  A pair of them migrates, one to the other."""
_FASTER = (
    "mitigations=off",
    "cryptomgr.notests",
    "init_on_alloc=0",
    "nokaslr",
    "audit=0",
    "lsm=capability",
)
"""What the kernel does for its safety, which costs half of the boot where TCG runs it."""
INITRAMFS = "initramfs"
"""File in the rig's directory with the modules for the root file system."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the rig is made of."""

    qemu: Path
    """QEMU that runs the rig itself."""
    has_kvm: bool
    """Whether it uses KVM, else TCG."""
    cpus: int = 2
    memory_mib: int = 3072
    writable: tuple[Path, ...] = ()
    """Directories that the guest may write to, besides the rig's own."""


def compose(
    image: Image, machine: Machine, folder: Path, init: Sequence[str], ports: Mapping[str, str]
) -> list[str]:
    """The argv of a QEMU that boots ``image``, runs the shell command ``init``, and ends.

    :param folder: the rig's own directory; the initramfs is written into it
    :param ports: names of virtio-serial ports -> files that get what is written to them
    :raise UsageError: a directory's name does not fit into a command line of QEMU or the kernel
    :raise PrerequisiteMissing: virtme-ng fails; its last line is in the message
    """
    writable = outermost([folder, *machine.writable])
    for path in writable:
        if any(letter in str(path) for letter in " ,=\"'`"):
            raise UsageError(
                f"{path}: directories shared with the rig must not contain spaces, quotes, "
                "commas or '='"
            )
    extra = ["-device", "virtio-serial-pci"]
    extra += ["-fsdev", f"local,id={ROOT},path=/,security_model=none,readonly=on,multidevs=remap"]
    extra += ["-device", f"virtio-9p-pci,fsdev={ROOT},mount_tag={ROOT}"]
    # caching-mode: the emulated IOMMU sees the mappings that VFIO makes for a nested QEMU.
    extra += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
    if machine.has_kvm:  # else KVM has the interrupt controller, and intremap needs QEMU's
        extra += ["-machine", "kernel-irqchip=split"]
    for slot in PCI_SLOTS:
        extra += ["-device", f"e1000e,addr={slot:#x},romfile="]
    for slot, mib in enumerate(IVSHMEM_MIB, IVSHMEM_SLOT):
        memory = f"memory-backend-memfd,id=ivshmem{slot},size={mib * MIB},share=on"
        extra += ["-object", memory]
        extra += ["-device", f"ivshmem-plain,memdev=ivshmem{slot},addr={slot:#x}"]
    for name, file in ports.items():
        extra += ["-chardev", f"file,id={name},path={file},append=on"]
        extra += ["-device", f"virtserialport,name={name},chardev={name}"]
    asked = [
        *(sys.executable, "-m", "virtme.commands.run", "--dry-run", "--show-command"),
        *("--mods", "auto"),
        *("--kimg", str(image.vmlinuz), "--qemu-bin", str(machine.qemu)),
        *(() if machine.has_kvm else ("--disable-kvm",)),
        # 9p is part of QEMU; virtiofsd may be missing.
        *("--force-9p", "--disable-microvm", "--user", "root"),
        *("--cpus", str(machine.cpus), "--memory", f"{machine.memory_mib}M"),
        *("--busybox", str(image.programs / "busybox")),
        *("--save-initramfs", str(folder / INITRAMFS)),
        *(f"--rwdir={path}" for path in writable),
        *("--show-boot-console", "--kopt", "loglevel=6"),
        # The kernel waits for a few timer ticks only, and panics on a busy machine:
        # "timer doesn't work through Interrupt-remapped IO-APIC" (io_apic.c).
        *("--kopt", "no_timer_check"),
        *(word for option in _FASTER for word in ("--kopt", option)),
        *("--script-sh", shlex.join(init), "--qemu-opts", *extra),
    ]
    (folder / INITRAMFS).unlink(missing_ok=True)
    # Its temporary files are removed with the directory.
    env = os.environ | {
        "PYTHONPATH": str(image.virtme),
        "PATH": f"{image.programs}:{os.environ.get('PATH', os.defpath)}",
        "TMPDIR": str(folder),
    }
    try:
        done = subprocess.run(
            (*GUARD, *asked),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            env=env,
            timeout=_COMPOSE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrerequisiteMissing(f"cannot run virtme-ng: {error}") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise PrerequisiteMissing(f"virtme-ng {image.virtme_ng} failed: {words[-1]}")
    return [_with_our_init(word) for word in shlex.split(lines[-1])]


def _with_our_init(word: str) -> str:
    """``word``, where it is the kernel's command line with ``INIT`` before virtme-ng's init."""
    before, found, init = word.rpartition(" init=")
    return f"{before} init=/bin/sh -- {INIT} {init}" if found else word


def outermost(folders: Sequence[Path]) -> list[Path]:
    """``folders``, resolved, without those that are inside another one."""
    paths = sorted({folder.resolve() for folder in folders})
    return [path for path in paths if not set(path.parents) & set(paths)]
