"""The device kind that docs/extending.md adds migrates, with two devices of mtty."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from harness.devices.mdev_bus import MdevBus
from tests.extending import copy_of_the_tree, extend

RUN_S = 400.0


@pytest.fixture
def paths():
    """Two instances that are there before the run, and after it."""
    bus = MdevBus()
    names = [str(uuid.uuid4()) for _ in range(2)]
    for name in names:
        bus.create(bus.find("mtty-1"), name)
    try:
        yield [str(bus.device(name)) for name in names]
        assert all(bus.device(name).exists() for name in names)
    finally:
        for name in names:
            bus.remove(name)


def test_device_kind_that_was_added_by_the_page_migrates(tmp_path, results_dir, qemu_src, paths):
    tree = copy_of_the_tree(tmp_path / "tree")
    extend(tree, "A device kind")
    source, destination = paths
    device = {"kind": "sysfsdev", "id": "a", "source": source, "destination": destination}
    device["ports"] = 1
    scenario = tmp_path / "extended.json"
    scenario.write_text(
        json.dumps({"name": "extended", "devices": [device], "relay": True, "deadline_s": 60})
    )
    runs = results_dir.absolute()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "run", scenario),
            *("--qemu", qemu_src, "--runs", runs),
        ],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads((runs / "extended-0001" / "verdict.json").read_text())
    outcomes = {each["requirement"]: each["outcome"] for each in verdict["findings"]}
    assert outcomes["ORD-1"] == outcomes["ORD-4"] == "valid"
