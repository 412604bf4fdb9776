"""Checks of the machine: Python, kernel, tools, limits, memory, disk space."""

import contextlib
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from harness.doctor.check import Check, State, needed
from harness.vm.process import GUARD

MIB = 1 << 20
MEMORY_NEEDED = 512 * MIB
SPACE_NEEDED = 200 * MIB
FILES_NEEDED = 1024
KERNEL_NEEDED = (5, 9)
PYTHON_NEEDED = (3, 11)


def python() -> Check:
    """Whether this Python is new enough."""
    oldest = ".".join(map(str, PYTHON_NEEDED))
    return needed(
        "Python",
        sys.version_info >= PYTHON_NEEDED,
        f"{platform.python_version()} at {sys.executable}",
        f"PYTHON=/path/to/python{oldest} make setup",
    )


def kernel() -> Check:
    """Whether the kernel is new enough."""
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    oldest = ".".join(map(str, KERNEL_NEEDED))
    return needed(
        "kernel",
        platform.system() == "Linux" and version >= KERNEL_NEEDED,
        f"{platform.system()} {release} on {platform.machine()}",
        f"boot Linux {oldest} or newer, whose seccomp can install file descriptors",
    )


def setpriv() -> Check:
    """Whether there is the tool by which QEMU dies with the harness."""
    path = shutil.which(GUARD[0])
    done = subprocess.run([*GUARD, "true"], capture_output=True, check=False) if path else None
    works = done is not None and not done.returncode
    found = "not on PATH" if path is None else path if works else f"{path} has no --pdeathsig"
    return needed("setpriv", works, found, "apt-get install util-linux")


def open_files() -> Check:
    """Whether QEMU may use the descriptor numbers of supervised data_fds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_fit = soft == resource.RLIM_INFINITY or soft >= FILES_NEEDED
    return needed(
        "open files",
        is_fit,
        f"limit {'none' if soft == resource.RLIM_INFINITY else soft}, {FILES_NEEDED} needed",
        f"ulimit -n {FILES_NEEDED}" + ("" if hard >= FILES_NEEDED or hard < 0 else " (as root)"),
    )


def memory() -> Check:
    """Whether two QEMUs fit into memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) << 10
    limit = Path("/sys/fs/cgroup/memory.max")
    with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
        used = int(limit.with_name("memory.current").read_text())
        available = min(available, int(limit.read_text()) - used)
    return needed(
        "memory",
        available >= MEMORY_NEEDED,
        f"{available // MIB} MiB available, {MEMORY_NEEDED // MIB} needed",
        "end other programs, or give the machine or container more memory",
    )


def space(runs_dir: Path) -> Check:
    """Whether run directories can be written."""
    folder = next(p for p in (runs_dir.absolute(), *runs_dir.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    is_writable = os.access(folder, os.W_OK)
    return needed(
        "run directories",
        free >= SPACE_NEEDED and is_writable,
        f"{free // MIB} MiB free in {folder}, {SPACE_NEEDED // MIB} needed"
        if is_writable
        else f"{folder} is not writable",
        "use another directory: --runs DIR",
    )


def gdb() -> Check:
    """Whether there is the tool that shows where a QEMU hangs."""
    path = shutil.which("gdb")
    if path is not None:
        return Check("gdb", State.OK, path)
    found = "not on PATH: a QEMU that hangs is reported without a backtrace"
    return Check("gdb", State.OPTIONAL, found, "apt-get install gdb")
