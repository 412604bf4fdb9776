"""A matrix on several machines: each gets its part, and all comes back.

The machines are folders here, reached by what takes ssh's place.
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = """
select = "all"
scenarios = ["plain"]
[axes]
source = ["{qemu}"]
destination = ["{qemu}"]
device = ["small"]
channels = [1, 2, 3]
[device.small]
kind = "emulated"
size = 1048577
"""
SSH = """#!/bin/sh
if [ "$1" = gone ]; then echo "no route to gone" >&2; exit 255; fi
shift
exec sh -c "$*"
"""


def test_each_machine_runs_its_part_and_leaves_nothing(tmp_path: Path, qemu_src: Path) -> None:
    matrix, ssh, results = tmp_path / "a matrix.toml", tmp_path / "ssh", tmp_path / "results"
    matrix.write_text(FILE.replace("{qemu}", str(qemu_src)))
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    before = set(ROOT.glob("runs/hosts-*"))
    done = subprocess.run(
        [ROOT / "ci/avocado/hosts.sh", results, f"one:{ROOT}", f"two:{ROOT}", f"gone:{ROOT}",
         "--", matrix],
        env={**os.environ, "SSH": str(ssh)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    logs = "".join(path.read_text() for path in results.glob("*.log"))
    assert done.returncode == 3, done.stdout + done.stderr + logs
    assert "exit status 3: no route to gone" in done.stdout
    assert done.stdout.count("1 cells: 0 lost, 0 violated, 0 unknown, 1 valid") == 2, logs
    told = [json.loads(path.read_bytes()) for path in results.glob("*/*/matrix.json")]
    assert sorted(cell["cell"]["channels"] for each in told for cell in each["cells"]) == [1, 2]
    assert len(list(results.rglob("verdict.json"))) == 2, "no run directories came back"
    assert set(ROOT.glob("runs/hosts-*")) == before
