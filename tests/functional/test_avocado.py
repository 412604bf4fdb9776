"""`avocado run` gives the tests and statuses of pytest, with reasons, evidence and numbers."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STATUSES = """
import os, signal, pytest
def test_passes(): os.write(1, b"\\xff")
@pytest.mark.xfail(reason="is known", strict=True)
def test_xfails(): assert 0
@pytest.mark.xfail(reason="is known", strict=True)
def test_xpasses_strictly(): pass
@pytest.mark.xfail(reason="is known", strict=False)
def test_xpasses(): pass
@pytest.mark.skip(reason="no hardware")
def test_skips(): pass
def test_fails(): assert 1 == 2, "words"
@pytest.fixture
def before(): raise OSError("not up")
def test_setup(before): pass
def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.parametrize("x", ["a b", "[$(id)", "ü"])
def test_odd_names(x): pass
"""


def avocado(results: Path, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and each test's entry in results.json, by what follows ``::``."""
    done = subprocess.run(
        [str(ROOT / "ci/avocado/run.sh"), *arguments],
        env={**os.environ, "AVOCADO_RESULTS": str(results), "AVOCADO_LIMIT": "240"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = results / "latest" / "results.json"
    assert found.exists(), done.stdout + done.stderr
    tests = json.loads(found.read_text())["tests"]
    return done.returncode, {test["name"].rpartition("::")[2]: test for test in tests}


def test_each_status_of_pytest_is_told_with_its_reason(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pytest.ini").touch()
    (project / "test_it.py").write_text(STATUSES)
    (project / "test_import.py").write_text("import no_such_module_of_ours\n")
    (project / "tool.sh").write_text("#!/bin/sh\ntouch was-run\n")
    (project / "tool.sh").chmod(0o755)
    status, tests = avocado(tmp_path / "results", str(project))
    assert status == 1
    told = {name: (test["status"], test["fail_reason"] or "") for name, test in tests.items()}
    dies = told.pop("test_dies")
    assert dies[0] == "ERROR"
    assert "SIGKILL" in dies[1]
    nothing = "<unknown>"
    assert told == {
        "test_passes": ("PASS", nothing),
        "test_xfails": ("PASS", "is known"),
        "test_xpasses_strictly": ("FAIL", "[XPASS(strict)] is known"),
        "test_xpasses": ("WARN", "is known"),
        "test_skips": ("SKIP", "no hardware"),
        "test_fails": ("FAIL", "AssertionError: words assert 1 == 2"),
        "test_setup": ("ERROR", "setup: OSError: not up"),
        "test_odd_names[a b]": ("PASS", nothing),
        "test_odd_names[[$(id)]": ("PASS", nothing),
        "test_odd_names[\\xfc]": ("PASS", nothing),
        next(name for name in told if name.endswith("test_import.py")): (
            "ERROR",
            "ModuleNotFoundError: No module named 'no_such_module_of_ours'",
        ),
    }


def test_real_pair_leaves_its_numbers_and_its_run(tmp_path: Path, qemu_src: Path) -> None:
    status, tests = avocado(
        tmp_path / "results",
        *("-p", f"qemu={qemu_src}", "-p", "keep_runs=yes", "-p", "channels=3"),
        "tests/functional/test_order.py::test_no_data_at_all_puts_config_at_index_0",
    )
    ((name, test),) = tests.items()
    assert (status, test["status"]) == (0, "PASS"), (name, test["fail_reason"])
    board = json.loads(test["whiteboard"])
    numbers = {name: value for name, value in board["properties"] if name.startswith("ORD-")}
    assert numbers
    assert board["seconds"]["call"] > 0
    assert list(Path(test["logdir"]).glob("runs/*/*/verdict.json")), "no run directory"
