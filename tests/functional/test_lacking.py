"""What this machine or build lacks is one line and exit status 3, before a QEMU is blamed."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.scenario import DataPath, EmulatedDevice, Scenario, to_json
from harness.scenario.guest_plan import Guest
from harness.vm import builds, fetched


def _run(folder: Path, scenario: Scenario, qemu: Path) -> str:
    """What is said of a run that cannot be made; nothing of it runs on."""
    path = folder / "scenario.json"
    path.write_bytes(to_json(scenario))
    argv = ["run", str(path), "--qemu", str(qemu), "--runs", str(folder / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *argv],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "VIOLATED" not in done.stdout
    return line


@pytest.fixture
def minimal() -> Path:
    """A build of the minimal configuration, which has no zstd."""
    for binary in fetched.binaries(is_plain=True):
        if binary.parent.name not in fetched.NAMES:
            return binary
    pytest.skip("no build from source is here: vfio-multifd qemu build 10.2.2 makes one")


def test_compression_that_the_build_does_not_have(results_dir: Path, minimal: Path) -> None:
    zstd = Scenario(name="zstd", parameters={"multifd-compression": "zstd"})
    assert "this build has no multifd-compression=zstd, which zstd needs: use another" in _run(
        results_dir, zstd, minimal
    )


def test_firmware_that_the_build_does_not_have(results_dir: Path, qemu_src: Path) -> None:
    bare = results_dir / "qemu-system-x86_64"
    bare.write_text(
        f'#!/bin/sh\n[ "$*" = "-L help" ] && exit\nexec {shlex.quote(str(qemu_src))} "$@"\n'
    )
    bare.chmod(0o755)
    share = results_dir / "trace"
    share.mkdir()
    (share / "trace-events-all").write_bytes(builds.trace_events_path(qemu_src).read_bytes())
    linux = Scenario(name="linux", ram_mib=192, guest=Guest())
    assert "this build has no bios-256k.bin, which boots a guest" in _run(results_dir, linux, bare)


def test_memory_that_the_guest_cannot_get(results_dir: Path, qemu_src: Path) -> None:
    """As much as a scenario may ask for."""
    huge = Scenario(name="huge", ram_mib=1 << 20)
    line = _run(results_dir, huge, qemu_src)
    assert "this machine lacks 1048576 MiB of memory for the guest (ram_mib): " in line


def test_memory_that_the_states_cannot_get(results_dir: Path, qemu_src: Path) -> None:
    all_of_it = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    device = EmulatedDevice(id="vfio0", size=8 * all_of_it, data_path=DataPath.MEMFD)
    line = _run(results_dir, Scenario(name="heavy", devices=(device,)), qemu_src)
    assert "heavy keeps " in line
    assert " MiB of device state in memory, and this machine has " in line
