"""A plain run that meets a known deviation names it; one that is new is called nothing."""

import json
import subprocess
import sysconfig
from pathlib import Path

import msgspec
import pytest

from harness import scenario
from harness.job import findings
from harness.scenario.fault_plan import Fields, Inject, Select

NAME = "ref-7-data-after-the-configuration"
PROGRAM = Path(sysconfig.get_path("scripts")) / "vfio-multifd"


@pytest.fixture
def run(results_dir: Path, qemu_src, qemu_dst):
    """Runs a scenario as ``run`` does; exit status, text, JSON and HTML of its report."""

    def call(wanted: scenario.Scenario):
        path = results_dir / "wanted.json"
        path.write_bytes(scenario.to_json(wanted))
        reports = [results_dir / name for name in ("report.html", "report.json")]
        done = subprocess.run(
            [PROGRAM, "run", path, "--qemu", qemu_src, "--qemu-dst", qemu_dst, "--runs",
             results_dir, *(word for report in reports for word in ("--report", report))],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        html, document = (report.read_text() for report in reports)
        (entry,) = json.loads(document)["runs"]
        return done.returncode, done.stdout, html, entry

    return call


def _known(name: str) -> scenario.Scenario:
    (deviation,) = findings.named((name,))
    return msgspec.structs.replace(findings.scenario_of(deviation), name="anything")


@pytest.mark.requirement("REF-7")
def test_run_that_meets_a_known_deviation_names_it_and_is_violated(run) -> None:
    status, text, html, entry = run(_known(NAME))
    assert status == 1, text
    assert f"    known deviation: {NAME}\n" in text
    assert f"    reproduce with: vfio-multifd repro {NAME}\n" in text
    assert f"vfio-multifd repro {NAME}</code>" in html
    assert entry["outcome"] == "violated"
    assert {d["name"] for d in entry["deviations"]} == {NAME}
    assert {d["seen_in"] for d in entry["deviations"]} == {"RUN", "REF-7"}


@pytest.mark.requirement("REF-7")
def test_another_acceptance_is_called_nothing(run) -> None:
    """Two damages at once: the new one is not hidden by the one that is known."""
    wanted = _known(NAME)
    second = Inject(select=Select(config=True), fields=Fields(idx=6))
    status, text, html, entry = run(
        msgspec.structs.replace(wanted, faults=(*wanted.faults, second))
    )
    assert status == 1, text
    (found,) = [f for f in entry["verdict"]["findings"] if f["requirement"] == "REF-7"]
    assert found["outcome"] == "violated"
    assert found["shape"].startswith("accepted-")
    assert "-and-" in found["shape"]
    assert entry["deviations"] == []
    assert "known deviation" not in text + html
