"""`meson test` with ci/meson: what it makes of each kind of end; no QEMU is started.

The stream of real QEMUs: tests/functional/test_ci.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.report import tap
from tests.unit.ci.pipelines import ROOT
from tests.unit.report.test_ci_points import known
from tests.unit.saved_runs import entry, lost, report, valid_run, violated_run

SCRIPTS = Path(sys.executable).parent
ENDS = {
    "OK": (0, report(entry(valid_run()))),
    "FAIL": (1, report(entry(valid_run()), entry(violated_run()))),
    "ERROR": (3, report(entry(valid_run()), lost())),
}


@pytest.fixture
def harness(tmp_path):
    """A harness that is set up, but whose program ends with the status and TAP that are given."""

    def make(status: int, stream: str, words: str = "") -> Path:
        folder = tmp_path / "harness"
        (folder / "ci").mkdir(parents=True)
        (folder / ".venv/bin").mkdir(parents=True)
        for name in ("tap.sh", "meson.build", "meson_options.txt"):
            (folder / "ci/meson").mkdir(exist_ok=True)
            (folder / "ci/meson" / name).write_bytes((ROOT / "ci/meson" / name).read_bytes())
        (folder / "ci/meson/tap.sh").chmod(0o755)
        (folder / "stream").write_text(stream)
        program = folder / ".venv/bin/vfio-multifd"
        program.write_text(
            "#!/bin/sh\necho on standard output\n"
            f'while [ "$1" != --report ]; do shift; done\ncat {folder}/stream >"$2"\n'
            f"echo '{words}' >&2\nexit {status}\n"
        )
        program.chmod(0o755)
        return folder

    return make


def meson_test(harness: Path) -> str:
    """What `meson test` calls the end of the one test."""
    build = harness.parent / "build"
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    for argv in (
        ["setup", str(build), str(harness / "ci/meson")],
        ["test", "-C", str(build)],
    ):
        done = subprocess.run(
            [SCRIPTS / "meson", *argv],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    (end,) = re.findall(r"^1/1 (?:vfio-multifd:)?main +([A-Z]+) ", done.stdout, re.MULTILINE)
    return end


@pytest.mark.parametrize("end", ENDS)
def test_meson_says_what_the_report_says(harness, end):
    status, made = ENDS[end]
    assert meson_test(harness(status, tap.render(made))) == end


def test_known_deviation_is_an_expected_failure(harness):
    made = report(entry(valid_run()), known(entry(violated_run())))
    assert "# TODO" in tap.render(made)
    assert meson_test(harness(0, tap.render(made))) == "OK"


def test_stream_that_was_cut_off_is_an_error(harness):
    whole = tap.render(report(entry(valid_run())))
    assert meson_test(harness(0, whole[: whole.index("\nok 3")] + "\n")) == "ERROR"


def call(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script], cwd=script.parent, capture_output=True, text=True, check=False)


def test_nothing_but_tap_is_on_standard_output(harness):
    stream = tap.render(report(entry(valid_run())))
    done = call(harness(0, stream) / "ci/meson/tap.sh")
    assert (done.returncode, done.stdout) == (0, stream)
    assert "on standard output" in done.stderr


def test_harness_that_could_not_begin_bails_out_with_its_reason(harness):
    done = call(harness(3, "", "no qemu-system-x86_64 on PATH") / "ci/meson/tap.sh")
    assert (done.returncode, done.stdout) == (3, "Bail out! no qemu-system-x86_64 on PATH\n")


def test_harness_that_is_not_set_up_bails_out(harness):
    folder = harness(0, "")
    (folder / ".venv/bin/vfio-multifd").unlink()
    done = call(folder / "ci/meson/tap.sh")
    assert done.returncode == 3
    assert done.stdout == f"Bail out! the harness is not set up: run make -C {folder} setup\n"
