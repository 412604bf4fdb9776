"""vfio-multifd run --device mdev, on a machine that has no such devices."""

import subprocess
import sys

import pytest

from harness.devices.mdev_bus import MdevBus
from harness.history import rundir
from harness.history.session import GuestSerial
from tests.records import held

RUN_S = 600.0


@pytest.mark.outside
@pytest.mark.requirement("ORD-1")
def test_rig_boots_by_itself_and_the_run_directory_comes_out(qemu_src, results_dir):
    assert not MdevBus().types(), "this machine has them: it is run as it is"
    report = results_dir / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "run", "--device", "mdev:mtty-2"),
            *("--qemu", qemu_src, "--runs", results_dir, "--report", report),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid: all" in done.stdout
    history = rundir.load(results_dir / "plain-0001")
    ports = [shown.port for shown in held(history, GuestSerial)]
    assert len(ports) == 4, "two on each side"
    assert sorted(path.name for path in results_dir.iterdir()) == ["plain-0001", report.name]
