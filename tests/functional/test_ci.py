"""What the pipelines of ci/ do, by the very shell lines that are in them, with real QEMUs."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import junitparser
import pytest

from harness.scenario import MIB, EmulatedDevice, Scenario, to_json
from harness.vm import builds
from tests.unit.ci.pipelines import GITHUB, ROOT, gitlab, loaded

# One buffer: too little for the known deadlock.
SCENARIO = Scenario(name="mine", devices=(EmulatedDevice(id="vfio0", size=MIB),))
ONE_TEST = "test_slow_device_does_not_stop_the_queue"

# The destination dies when the first buffer of device state has come.
DYING = """
case " $* " in *" -incoming "*)
    log=$(printf '%s\\n' "$@" | sed -n '/^-D$/{n;s/%d/*/p}')
    {
        until grep -qs buffer_incoming $log; do kill -0 $$ && sleep 0.01 || exit; done
        kill -SEGV $$
    } </dev/null >/dev/null 2>&1 &
esac
"""


@pytest.fixture
def workspace(tmp_path: Path, qemu_src: Path):
    """A CI's checkout, in which an earlier job has left a QEMU build tree."""

    def make(before: str = "") -> Path:
        tree = tmp_path / "build"
        (tree / "trace").mkdir(parents=True)
        (tree / "trace/trace-events-all").symlink_to(builds.trace_events_path(qemu_src))
        binary = tree / builds.BINARY
        binary.write_text(f'#!/bin/sh\n{before}\nexec {qemu_src} "$@"\n')
        return tmp_path

    return make


def environment(**more: str) -> dict[str, str]:
    """Ours, without what make and pytest tell their children."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "MAKE", "MFLAGS"))
    }
    return {**ours, **more}


def junit(path: Path) -> list[junitparser.TestCase]:
    return [case for suite in junitparser.JUnitXml.fromfile(str(path)) for case in suite]


def _none_kept(runs: Path) -> None:
    """Of a job whose status is 0 only a run that a known deviation interrupted is kept."""
    if list(runs.rglob("verdict.json")):
        pytest.xfail("intermittent: a known deviation interrupted the run")
    assert not list(runs.iterdir())


def test_gitlab_job_judges_the_artifact_of_an_earlier_job(workspace) -> None:
    """A tar file whose QEMU lost its mode on the way."""
    checkout = workspace()
    with tarfile.open(checkout / "build.tar.gz", "w:gz") as archive:
        archive.add(checkout / "build", arcname="some/build")
    (checkout / "mine.json").write_bytes(to_json(SCENARIO))
    _, jobs = gitlab(qemu="build.tar.gz", harness=str(ROOT), suites="mine.json")
    job = jobs["vfio-multifd"]
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
        cwd=checkout, env=environment(**job["variables"]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = checkout.glob(job["artifacts"]["reports"]["junit"])
    _none_kept(checkout / job["variables"]["RESULTS"] / "runs")
    passed = {case.classname for case in junit(report) if not case.result}
    assert passed >= {f"vfio-multifd.{requirement}" for requirement in ("ORD-1", "STA-1")}
    results = checkout / job["variables"]["RESULTS"]
    assert "ORD-1" in (results / "report-mine.html").read_text()
    assert (results / "suites.log").read_text() == "suites: mine.json: valid\n"


def test_github_step_keeps_the_runs_of_what_failed(workspace) -> None:
    checkout = workspace(DYING)
    (step,) = [each for each in loaded(GITHUB.read_text())[0]["runs"]["steps"] if "run" in each]
    told = checkout / "github-output"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=checkout,
        env=environment(
            HARNESS=str(ROOT / "ci/github/../.."), QEMU="./build", QEMU_DST="",
            SUITES="functional", RESULTS="results", LIMIT="200",
            GITHUB_OUTPUT=str(told), PYTEST_ADDOPTS=f"-k {ONE_TEST}",
        ),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert told.read_text() == "status=1\n"
    results = checkout / "results"
    (case,) = junit(results / "junit-functional.xml")
    assert case.name == ONE_TEST
    assert "signal 11" in case.result[0].text
    (run,) = (results / "runs/functional").glob("*/*/history.jsonl")
    report = (results / "report-functional.html").read_text()
    assert f"runs/functional/{run.parent.parent.name}/{run.parent.name}/history.jsonl" in report


def test_meson_tests_a_build_tree(workspace) -> None:
    """As QEMU's functional tests do: scratch files are kept only if that is asked for."""
    checkout = workspace()
    (checkout / "mine.json").write_bytes(to_json(SCENARIO))
    (checkout / "build" / builds.BINARY).chmod(0o755)
    scripts = Path(sys.executable).parent
    variables = environment(PATH=f"{scripts}:{os.environ['PATH']}")
    for argv in (
        ["setup", checkout / "vfio", ROOT / "ci/meson", f"-Dqemu={checkout / 'build'}",
         f"-Dscenarios={checkout / 'mine.json'}"],
        ["test", "-C", checkout / "vfio"],
    ):  # fmt: skip
        done = subprocess.run(
            [scripts / "meson", *argv],
            env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"main +OK .* \d+ subtests passed", done.stdout)
    _none_kept(checkout / "vfio/vfio-multifd-runs")
