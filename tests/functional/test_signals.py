"""One signal ends any command in any phase, and nothing is left: a few moments of each.

More: VFIO_MULTIFD_MOMENTS=200, or ``python -m ci.signals`` (its docstring says how).
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import signals
from harness.cli import COMMANDS
from harness.scenario import MIB, EmulatedDevice, Scenario, to_json

MOMENTS = int(os.environ.get("VFIO_MULTIFD_MOMENTS", "2"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, qemu_src: Path) -> Iterator[signals.Place]:
    made = signals.Place(tmp_path_factory.mktemp("signals"), qemu_src)
    made.prepare()
    yield made
    shutil.rmtree(made.folder)


@pytest.mark.parametrize("name", [
    "run", "jobs", "check", "replay", "recheck", "compare", "measure", "repro", "bisect", "show",
    "export", "serve",
    "relay", "qmp", "credentials", "qemu-list", "qemu-fetch", "doctor",
])  # fmt: skip
def test_signal_at_a_random_moment_ends_the_command_and_leaves_nothing(
    name: str, place: signals.Place
) -> None:
    told: list[str] = []
    moments = MOMENTS * (3 if name == "run" else 1)
    found = signals.tries(place, name, moments, 0, told.append)
    assert not [each for each in found if each.wrong], "\n".join(told)


def test_every_command_has_its_moments(place: signals.Place) -> None:
    assert set(COMMANDS) == {argv[0] for argv in signals.commands(place).values()}


def test_interrupted_job_reports_the_verdicts_that_it_has(
    results_dir: Path, tmp_path: Path, qemu_src: Path
) -> None:
    device = EmulatedDevice(id="vfio0", size=MIB)
    paths = []
    for name in ("first", "second"):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_bytes(to_json(Scenario(name=name, devices=(device,), qemu=str(qemu_src))))
    many = [str(paths[0]), *[str(paths[1])] * 1000]
    with subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "run", "--jobs", "3", *many,
         "--runs", str(results_dir), "--report", str(tmp_path / "r.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    assert "first" in first
    assert process.returncode == 143
    assert err == ""
    words = " ".join(out.split())
    assert "INTERRUPTED: run" in words
    assert "judged before: " in words
    assert '"overall": "interrupted"' in (tmp_path / "r.json").read_text()


def test_deadline_bounds_a_state_that_is_too_large(
    results_dir: Path, tmp_path: Path, qemu_src: Path
) -> None:
    """A terabyte, of which QEMU gets some: the rest is neither made nor compared."""
    path = tmp_path / "large.json"
    large = EmulatedDevice(id="vfio0", size=1 << 40)
    path.write_bytes(
        to_json(Scenario(name="large", devices=(large,), qemu=str(qemu_src), deadline_s=2.0))
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", str(path), "--runs", str(results_dir)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    told = " ".join(done.stdout.split())
    assert "what vfio0 received was not compared: it took longer than 5 s" in told


def test_probe_of_a_build_needs_no_folder_for_temporary_files(qemu_src: Path) -> None:
    """So one that is killed leaves nothing there."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; "
         "from harness.vm import builds; found = builds.probe_now(Path(sys.argv[1])); "
         "assert found.has_log_backend and found.facts.version >= (10, 0, 0)", str(qemu_src)],
        env={**os.environ, "TMPDIR": "/nonexistent"}, timeout=300, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
