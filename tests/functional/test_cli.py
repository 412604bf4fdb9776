"""The command line on real QEMUs: the main job, recheck, and bad input in one line each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.check.judge import TITLES
from harness.scenario import MIB, EmulatedDevice, Lie, LoadBehaviour, Scenario, to_json
from harness.vm import builds

ELSEWHERE = {
    "SET-6",  # two versions
    "PRE-2",  # a feature that QEMU asks for from 11.1
    "SET-7",  # a property from QEMU 10.1
    "REF-12",  # another
    "STA-4",  # query-migrate in pre-copy: test_statistics
    "PRE-5",  # pre-copy that does not converge: test_evidence
}
"""Requirements that the main job of one build does not show, or not of every build."""


def _harness(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *argv],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def scenario_file(tmp_path: Path, qemu_src: Path) -> Path:
    path = tmp_path / "scenario.json"
    small = EmulatedDevice(id="vfio0", size=MIB)
    path.write_bytes(to_json(Scenario(name="small", qemu=str(qemu_src), devices=(small,))))
    return path


def _is_known(run: dict[str, Any]) -> bool:
    """Whether ``run`` is violated by known deviations alone.  On a busy machine the main channel
    may end before a packet is read that is to be refused: then today's QEMU hangs.
    """
    if run["known"] or not run["verdict"]:
        return bool(run["known"])
    violated = {f["requirement"] for f in run["verdict"]["findings"] if f["outcome"] == "violated"}
    return bool(violated) and violated <= {known["seen_in"] for known in run["deviations"]}


def test_main_job_judges_every_requirement(results_dir: Path, qemu_src: Path) -> None:
    for attempt in ("first", "second", "third"):
        runs = results_dir / attempt
        done = _harness("run", "--json", "--qemu", str(qemu_src), "--runs", str(runs))
        report = json.loads(done.stdout)
        if not any(map(_is_known, report["runs"])):
            break
    else:
        pytest.xfail("intermittent: known deviations interrupted runs")
    assert done.returncode == 0, done.stdout + done.stderr
    valid = {
        finding["requirement"]
        for run in report["runs"]
        if not run["left_out"]
        for finding in run["verdict"]["findings"]
        if finding["outcome"] == "valid"
    }
    left_out = {run["name"] for run in report["runs"] if run["left_out"]}
    assert all(name.startswith("tls-") for name in left_out), "the build has no TLS"
    assert valid >= TITLES.keys() - ELSEWHERE - ({"SET-5"} if left_out else set())


def test_recheck_says_the_same_as_the_run(results_dir: Path, scenario_file: Path) -> None:
    done = _harness("run", str(scenario_file), "--runs", str(results_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = results_dir.iterdir()
    assert _harness("recheck", str(run)).returncode == 0
    history = run / "history.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(b"".join(lines[:-3]))
    damaged = _harness("recheck", str(run))
    assert damaged.returncode == 3
    assert len(damaged.stderr.strip().splitlines()) == 1
    history.write_bytes(b"".join(lines))
    assert _harness("recheck", str(run)).returncode == 0
    scenario = run / "scenario.json"
    scenario.write_text(scenario.read_text().replace('"channels": 4', '"channels": 3'))
    edited = _harness("recheck", str(run))
    assert edited.returncode == 3
    (line,) = edited.stderr.strip().splitlines()
    assert f"{scenario}: its digest is not that in the manifest" in line


def test_violated_run_exits_1_and_names_the_requirement(
    results_dir: Path, tmp_path: Path, qemu_src: Path
) -> None:
    # One buffer: too little for the known deadlock, which would leave nothing to judge.
    liar = EmulatedDevice(id="vfio0", size=MIB, load=LoadBehaviour(lie=Lie.LOST_BUFFER))
    path = tmp_path / "liar.json"
    path.write_bytes(to_json(Scenario(name="liar", qemu=str(qemu_src), devices=(liar,))))
    done = _harness("run", str(path), "--runs", str(results_dir))
    assert done.returncode == 1
    assert "ORD-1" in done.stdout
    assert "vfio0" in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such QEMU"),
        ("", "not an executable"),
        ("#!/bin/sh\necho QEMU emulator version 7.2.22\n", "7.2.22"),
        ("#!/bin/sh\necho hello\n", "not a QEMU"),
    ],
    ids=["missing", "not executable", "too old", "no QEMU"],
)
def test_unusable_qemu_is_one_line_and_exit_3(
    tmp_path: Path, results_dir: Path, content: str | None, words: str
) -> None:
    binary = tmp_path / "qemu-system-x86_64"
    if content is not None:
        binary.write_text(content)
        binary.chmod(0o755 if content else 0o644)
    done = _harness("run", "--qemu", str(binary), "--runs", str(results_dir))
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert words in line
    assert str(binary) in line


def test_build_without_the_property_is_one_line(
    tmp_path: Path, results_dir: Path, scenario_file: Path
) -> None:
    scenario = json.loads(scenario_file.read_bytes())
    scenario["devices"][0]["properties"] = {"x-no-such-property": "on"}
    path = tmp_path / "property.json"
    path.write_text(json.dumps(scenario))
    done = _harness("run", str(path), "--runs", str(results_dir))
    assert done.returncode == 3
    (line,) = done.stderr.strip().splitlines()
    assert "x-no-such-property" in line


def test_unreadable_trace_events_is_one_line(
    tmp_path: Path, results_dir: Path, scenario_file: Path
) -> None:
    wrong = tmp_path / "trace-events-all"
    wrong.write_text("this is not\na list of trace events\n")
    done = _harness(
        "run", str(scenario_file), "--runs", str(results_dir), "--trace-events", str(wrong)
    )
    assert done.returncode == 3
    (line,) = done.stderr.strip().splitlines()
    assert str(wrong) in line


def test_build_that_writes_no_trace_is_one_line(
    tmp_path: Path, results_dir: Path, scenario_file: Path, qemu_src: Path
) -> None:
    """A build with another backend accepts -trace and writes nothing; so does this wrapper."""
    wrapper = tmp_path / "qemu-system-x86_64"
    wrapper.write_text(
        "#!/bin/bash\nfor a; do case $skip$a in -trace|-D|-d) skip=1;; 1*) skip=;;"
        f' *) args+=("$a");; esac; done\nexec {qemu_src} "${{args[@]}}"\n'
    )
    wrapper.chmod(0o755)
    done = _harness(
        "run", str(scenario_file), "--qemu", str(wrapper), "--runs", str(results_dir),
        "--trace-events", str(builds.trace_events_path(qemu_src)),
    )  # fmt: skip
    assert done.returncode == 3, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert "log trace backend" in line


def test_doctor_finds_this_machine_fit(qemu_src: Path) -> None:
    done = _harness("doctor", "--qemu", str(qemu_src))
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(qemu_src) in done.stdout


def test_by_hand_script_does_the_migration(results_dir: Path, scenario_file: Path) -> None:
    assert _harness("run", str(scenario_file), "--runs", str(results_dir)).returncode == 0
    (run,) = results_dir.iterdir()
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, str(run / "by-hand.sh")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"completed"' in done.stdout.replace("'", '"')


def test_run_is_reported_in_every_format_and_exported(
    results_dir: Path, tmp_path: Path, scenario_file: Path
) -> None:
    files = [tmp_path / f"report.{kind}" for kind in ("html", "json", "tap", "xml")]
    options = [part for path in files for part in ("--report", str(path))]
    done = _harness("run", str(scenario_file), "--runs", str(results_dir), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_size for path in files)
    assert "ORD-1" in files[0].read_text()
    (run,) = results_dir.iterdir()
    trace = tmp_path / "run.perfetto.json"
    assert _harness("export", str(run), "-o", str(trace)).returncode == 0
    assert json.loads(trace.read_text())["traceEvents"]


def test_report_of_no_kind_is_refused_before_anything_runs(
    results_dir: Path, tmp_path: Path, scenario_file: Path
) -> None:
    report = str(tmp_path / "report.doc")
    done = _harness("run", str(scenario_file), "--runs", str(results_dir), "--report", report)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert not list(results_dir.iterdir())
