"""A matrix as an avocado job: each status apart, and a lost cell keeps no other from running."""

import json
import subprocess
import sys
from pathlib import Path

from harness.vm import builds

ROOT = Path(__file__).parents[2]
FILE = """
select = "all"
scenarios = ["plain"]
limit_s = 120
[axes]
source = ["good", "dies", "no-such-build"]
destination = ["good"]
device = ["small", "liar"]
[builds]
good = "{good}"
dies = "{dies}"
[device.small]
kind = "emulated"
size = 1048577
[device.liar]
kind = "emulated"
size = 1048576
load = {lie = "lost_buffer"}
"""
KILLS_ITS_HARNESS = """#!/bin/sh
case "$*" in *vfio-pci*) kill -KILL $PPID;; esac
exec {good} "$@"
"""


def test_statuses_of_cells_are_told_apart(tmp_path: Path, qemu_src: Path) -> None:
    dies = tmp_path / "dies" / builds.BINARY
    (dies.parent / "trace").mkdir(parents=True)
    dies.write_text(KILLS_ITS_HARNESS.replace("{good}", str(qemu_src)))
    dies.chmod(0o755)
    events = builds.trace_events_path(qemu_src).read_bytes()
    (dies.parent / "trace" / "trace-events-all").write_bytes(events)
    path = tmp_path / "matrix.toml"
    path.write_text(FILE.replace("{good}", str(qemu_src)).replace("{dies}", str(dies)))
    done = subprocess.run(
        [sys.executable, "-m", "ci.avocado.matrix", str(path), "--results", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (folder,) = tmp_path.glob("matrix-*")
    told = json.loads((folder / "matrix.json").read_bytes())
    statuses = {
        (line["cell"]["source"], line["cell"]["device"]): line["status"] for line in told["cells"]
    }
    assert statuses == {
        ("good", "small"): "valid",
        ("good", "liar"): "violated",
        ("dies", "small"): "lost",
        ("dies", "liar"): "lost",
        ("no-such-build", "small"): "skipped",
        ("no-such-build", "liar"): "skipped",
    }, done.stdout
    assert "6 cells: 2 lost, 1 violated, 0 unknown, 1 valid, 2 skipped" in done.stdout
    assert "ORD-1" in (folder / "matrix.html").read_text()
    assert "failure" in (folder / "matrix.xml").read_text()
