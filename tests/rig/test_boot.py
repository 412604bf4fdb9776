"""A rig that really boots: status, output, what may be written, and what is left of it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import LostVM
from harness.rig import accelerator, image, rig
from harness.vm import builds

pytestmark = pytest.mark.outside
BOOT_S = 480.0

SCRIPT = """
echo "root: $(id -u), $(pwd)"
echo words >&2
touch here
touch "$1/there"
ls /sys/class/mdev_bus/mtty/mdev_supported_types
test -c /dev/vfio/vfio && echo container
cat /proc/[0-9]*/comm | grep udev
exit 7
"""


@pytest.fixture(scope="module", autouse=True)
def _booted_by_what_is_known():
    """Whether KVM boots a rig: no test waits for that trial."""
    accelerator.can_kvm_boot(builds.find(), image.find())


@pytest.fixture
def run(results_dir, tmp_path):
    """Runs a command in a rig; status, output, error output."""
    stdout, stderr = bytearray(), bytearray()

    def run(*command, deadline_s=BOOT_S):
        status = rig.run(
            command,
            results_dir,
            on_stdout=stdout.extend,
            on_stderr=stderr.extend,
            writable=[tmp_path],
            deadline_s=deadline_s,
        )
        return status, stdout.decode(), stderr.decode()

    return run


def test_command_runs_on_this_machines_files_and_its_status_comes_back(run, results_dir, tmp_path):
    status, stdout, stderr = run("sh", "-c", SCRIPT, "sh", str(tmp_path))
    assert status == 7
    assert stdout.splitlines() == [f"root: 0, {Path.cwd()}", "mtty-1", "mtty-2", "container"]
    assert stderr.splitlines()[0] == "words"
    assert "Read-only file system" in stderr
    assert (tmp_path / "there").exists()
    assert not Path("here").exists()
    assert "Linux version" in (results_dir / "console.log").read_text()


def test_kernel_that_panics_is_a_lost_rig(run):
    with pytest.raises(LostVM, match=r"before the command had a status; .*console"):
        run("sh", "-c", "echo c >/proc/sysrq-trigger")


HARNESS = """
import sys
from pathlib import Path
from harness.rig import rig
rig.run(["true"], Path(sys.argv[1]), on_stdout=print, on_stderr=print)
"""


def has_booted(console):
    return console.exists() and console.stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_runs_on_after_the_harness(results_dir, number):
    console = results_dir / "console.log"
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, results_dir], stderr=subprocess.DEVNULL
    ) as harness:
        until = time.monotonic() + BOOT_S
        while not has_booted(console) and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                harness.wait(0.1)
        children = Path(f"/proc/{harness.pid}/task/{harness.pid}/children").read_text().split()
        pidfds = [os.pidfd_open(int(pid)) for pid in children]
        harness.send_signal(number)
    assert len(pidfds) == 1
    has_ended, _, _ = select.select(pidfds, [], [], 10)
    os.close(pidfds[0])
    assert has_ended
