"""What docs/extending.md says is enough: a fault that is added by it judges a right QEMU valid."""

import json
import os
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


def _blocks() -> tuple[str, str, str]:
    """The example's struct, its handler, and its line in ``FAULTS``."""
    tokens = MarkdownIt().parse((ROOT / "docs" / "extending.md").read_text())
    struct, handler, line = (
        textwrap.dedent(token.content)
        for token in tokens
        if token.type == "fence" and token.info == "python"
    )
    return struct, handler, line


def _insert(path: Path, before: str, text: str) -> None:
    found = path.read_text()
    assert found.count(before) == 1, (path, before)
    path.write_text(found.replace(before, text + before))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package, the example's fault added as the page says."""
    shutil.copytree(
        ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__")
    )
    struct, handler, line = _blocks()
    plan = tmp_path / "harness" / "fault_plan.py"
    _insert(plan, "Fault = (\n    Reorder", f"{struct}\n\n")
    _insert(plan, "    | StallMain\n)", "    | Blank\n")
    (tmp_path / "harness" / "proxy" / "faults" / "blank.py").write_text(handler)
    build = tmp_path / "harness" / "proxy" / "build.py"
    _insert(
        build,
        "from harness.proxy.faults.close_channel",
        "from harness.proxy.faults.blank import Blank\n",
    )
    _insert(build, "    plan.CloseChannel: CloseChannel,", f"    {line.strip()}\n")
    return tmp_path


def _say(package: Path, traits: str) -> None:
    """Let the example say ``traits`` of itself."""
    plan = package / "harness" / "fault_plan.py"
    text = plan.read_text()
    assert text.count(TRAITS) == 1
    plan.write_text(text.replace(TRAITS, traits))


def _run(package: Path, qemu: Path, runs: Path) -> tuple[int, str, str]:
    program = (
        "import sys, harness, harness.cli;"
        f"assert harness.__file__.startswith({str(package)!r}), harness.__file__;"
        "sys.exit(harness.cli.main())"
    )
    fault = json.dumps(FAULT)
    arguments = ["run", "--qemu", qemu, "--size", "4M", "--fault", fault, "--json"]
    arguments += ["--runs", runs.resolve()]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, arguments)],
        cwd=package, env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


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
    assert "TypeError: Blank must say changes_data: True or False" in err


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
