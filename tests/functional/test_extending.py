"""What docs/extending.md says is enough, in a copy: the fault that the page adds is tested there,
and judges a right QEMU valid."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
FAULT = {"fault": "blank", "select": {"idx": [1]}}
TRAITS = "    changes_data = True\n    closes_channels = holds_packets = False\n"


def _blocks(section: str) -> list[str]:
    """The Python of a section of the page."""
    page = (ROOT / "docs" / "extending.md").read_text()
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return [
        textwrap.dedent(token.content)
        for token in MarkdownIt().parse(text)
        if token.type == "fence" and token.info == "python"
    ]


def _insert(path: Path, before: str, text: str) -> None:
    found = path.read_text()
    assert found.count(before) == 1, (path, before)
    path.write_text(found.replace(before, text + before))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package, the example's fault added as the page says."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=ignore)
    shutil.copytree(
        ROOT / "tests" / "unit" / "proxy", tmp_path / "tests" / "unit" / "proxy", ignore=ignore
    )
    struct, line, handler, test = _blocks("A fault")
    plan = tmp_path / "harness" / "scenario" / "fault_plan.py"
    _insert(plan, "Fault = (\n    Reorder", f"{struct}\n\n")
    _insert(plan, "    | StallMain\n)", f"    {line}")
    (tmp_path / "harness" / "proxy" / "faults" / "blank.py").write_text(handler)
    tests = tmp_path / "tests" / "unit" / "proxy" / "faults"
    (tests / "test_blank.py").write_text(test)
    return tmp_path


def _say(package: Path, traits: str) -> None:
    """Let the example say ``traits`` of itself."""
    plan = package / "harness" / "scenario" / "fault_plan.py"
    text = plan.read_text()
    assert text.count(TRAITS) == 1
    plan.write_text(text.replace(TRAITS, traits))


def _python(package: Path, *arguments: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        cwd=package, env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def _run(package: Path, qemu: Path, runs: Path) -> tuple[int, str, str]:
    program = (
        "import sys, harness, harness.cli;"
        f"assert harness.__file__.startswith({str(package)!r}), harness.__file__;"
        "sys.exit(harness.cli.main())"
    )
    fault = json.dumps(FAULT)
    options = ["run", "--qemu", qemu, "--size", "4M", "--fault", fault, "--json"]
    return _python(package, "-c", program, *options, "--runs", runs.resolve())


def test_test_of_the_fault_passes(package: Path) -> None:
    test = "tests/unit/proxy/faults/test_blank.py"
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", package]
    status, out, err = _python(package, "-m", "pytest", *options, test)
    assert status == 0, out + err
    assert "1 passed" in out


@pytest.mark.requirement("ORD-1")
def test_fault_that_is_added_by_the_page_alone_judges_a_right_qemu_valid(
    package: Path, results_dir: Path, qemu_src: Path
) -> None:
    status, out, err = _run(package, qemu_src, results_dir)
    assert (status, err) == (0, ""), out + err
    (run,) = json.loads(out)["runs"]
    outcomes = {f["requirement"]: f["outcome"] for f in run["verdict"]["findings"]}
    assert outcomes["ORD-1"] == "valid"
    records = (Path(run["path"]) / "history.jsonl").read_text().splitlines()
    assert any('"blanked"' in line for line in records), "the fault did nothing"
    assert any('"name":"delivered"' in line for line in records), "nothing was compared"


def test_fault_that_does_not_say_what_it_does_is_refused_at_once(
    package: Path, results_dir: Path, qemu_src: Path
) -> None:
    _say(package, "")
    status, _, err = _run(package, qemu_src, results_dir)
    assert status != 0
    assert "TypeError: Blank must set changes_data to True or False" in err


def test_fault_that_says_it_wrongly_accuses_a_right_qemu(
    package: Path, results_dir: Path, qemu_src: Path
) -> None:
    """So that the first test can fail: the destination is then compared with the source."""
    _say(package, "    changes_data = closes_channels = holds_packets = False\n")
    status, out, _ = _run(package, qemu_src, results_dir)
    assert status == 1, out
    (run,) = json.loads(out)["runs"]
    violated = [f for f in run["verdict"]["findings"] if f["outcome"] == "violated"]
    assert [(f["requirement"], f["shape"]) for f in violated] == [("ORD-1", "bytes-differ")]
