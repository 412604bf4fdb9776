"""A fault, a rule and a device kind that are added by docs/extending.md, and nothing else, work."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.extending import ROOT, copy_of_the_tree, extend

LIMIT_S = 120.0
BLANK = ("--size", "3M", "--fault", '{"fault": "blank", "select": {"idx": [1]}}')
"""Options for a run with the example's fault."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_of_the_tree(tmp_path / "tree")


@pytest.fixture
def runs(results_dir: Path) -> Path:
    return results_dir.absolute()


def python(tree: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python with the copy's harness and tests, and nothing of those here."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,  # which "python -m" and "python -c" import from first
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def vfio_multifd(tree: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The copy's own."""
    program = (
        "import sys, harness, harness.cli;"
        f"assert harness.__file__.startswith({str(tree)!r}), harness.__file__;"
        "sys.exit(harness.cli.main())"
    )
    return python(tree, "-c", program, *arguments)


def run(
    tree: Path, runs: Path, qemu: Path, *options: str | Path, status: int = 0
) -> dict[str, dict[str, Any]]:
    """``vfio-multifd run`` ends with ``status``; its findings by their requirements."""
    done = vfio_multifd(tree, "run", "--qemu", qemu, "--runs", runs, *options)
    assert done.returncode == status, done.stdout
    (path,) = runs.glob("*/verdict.json")
    found = json.loads(path.read_text())["findings"]
    return {finding["requirement"]: finding for finding in found}


def check(tree: Path, made: list[Path], *more: str) -> None:
    """The new files are in the house's style, and their tests pass, with those of ``more``; types
    are right everywhere.
    """
    done = python(tree, "-m", "ruff", "check", "--no-cache", *made)
    assert done.returncode == 0, done.stdout
    done = python(tree, "-m", "ruff", "format", "--check", "--no-cache", *made)
    assert done.returncode == 0, done.stdout
    cache = Path(".cache", "mypy")
    with contextlib.suppress(OSError):  # without it mypy takes a minute
        shutil.copytree(ROOT / cache, tree / cache)
    done = python(tree, "-m", "mypy")
    assert done.returncode == 0, done.stdout
    unit = [path for path in made if path.is_relative_to(tree / "tests")]
    assert unit, "the page has no test"
    done = python(tree, "-m", "pytest", "-q", *unit, *more)
    assert done.returncode == 0, done.stdout


def test_fault(tree: Path, runs: Path, qemu_src: Path) -> None:
    made = extend(tree, "A fault")
    check(tree, made, "tests/unit/scenario", "tests/unit/proxy/test_chain.py")
    findings = run(tree, runs, qemu_src, *BLANK)
    assert findings["ORD-1"]["outcome"] == "valid"
    lines = (runs / "plain-0001" / "history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    done = [record["args"] for record in records if record["name"] == "fault"]
    assert [(args["what"], args["idx"]) for args in done] == [("blanked", 1)]
    assert any(record["name"] == "delivered" for record in records), "nothing was compared"


def change_base(tree: Path, base: str) -> None:
    """Let the example have another base than the page says."""
    path = tree / "harness" / "scenario" / "fault_plan.py"
    path.write_text(path.read_text().replace("class Blank(_Fault, Changing,", base))


def test_fault_without_a_base_that_says_what_it_does_is_refused_at_once(
    tree: Path, runs: Path, qemu_src: Path
) -> None:
    extend(tree, "A fault")
    change_base(tree, "class Blank(_Fault,")
    done = vfio_multifd(tree, "run", "--qemu", qemu_src, "--runs", runs, *BLANK)
    assert done.returncode != 0
    assert "TypeError: Blank must set changes_data to True or False" in done.stdout


def test_fault_with_a_wrong_base_accuses_a_right_qemu(
    tree: Path, runs: Path, qemu_src: Path
) -> None:
    """So that the first test can fail: the destination is then compared with the source."""
    extend(tree, "A fault")
    change_base(tree, "class Blank(_Fault, Plain,")
    findings = run(tree, runs, qemu_src, *BLANK, status=1)
    violated = [f for f in findings.values() if f["outcome"] == "violated"]
    assert [(f["requirement"], f["shape"]) for f in violated] == [("ORD-1", "bytes-differ")]


def test_rule(tree: Path, runs: Path, qemu_src: Path) -> None:
    made = extend(tree, "A rule")
    check(tree, made, "tests/unit/twins", "tests/unit/check/test_judge.py")
    devices = [{"kind": "emulated", "id": "a", "size": 3 << 20, "save": {"read_sizes": [100_000]}}]
    scenario = runs / "short-reads.json"
    scenario.write_text(json.dumps({"name": "short-reads", "devices": devices}))
    finding = run(tree, runs, qemu_src, scenario)["ORD-10"]
    assert finding["outcome"] == "valid"
    assert finding["numbers"]["reads"] > 30


def test_device_kind(tree: Path, runs: Path, qemu_src: Path) -> None:
    """That such a device migrates is shown in tests/rig."""
    made = extend(tree, "A device kind")
    check(tree, made, "tests/unit/scenario", "tests/unit/devices/test_attachments.py")
    command = ("run", "--qemu", qemu_src, "--runs", runs)
    done = vfio_multifd(tree, *command, "--device", "sysfsdev:/one")
    assert done.returncode == 4, done.stdout
    assert "sysfsdev:SOURCE,DESTINATION" in done.stdout
    done = vfio_multifd(tree, *command, "--device", "sysfsdev:/no/such,/no/other")
    assert done.returncode == 3, done.stdout
    assert "vfio0: no device /no/such" in done.stdout
