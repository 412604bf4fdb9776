"""Nothing is left behind: not after Ctrl-C, and not when the harness is killed."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.scenario import MIB, EmulatedDevice, LoadBehaviour, Scenario, to_json
from harness.vm.sockets import FOLDER

DEADLINE_S = 30.0
# A destination that takes its time keeps the migration going until somebody ends it.
SLOW = EmulatedDevice(id="vfio0", load=LoadBehaviour(write_delay_s=2.0), size=4 * MIB)


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            children += map(int, (task / "children").read_text().split())
    return children + [grandchild for child in children for grandchild in _descendants(child)]


def _sockets(pids: list[int]) -> set[str]:
    """Inodes of the unix sockets with a name that ``pids`` listen on or are connected by.

    Their names are those of any run: relative to QEMU's working directory.
    """
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(fd.readlink().name.removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {fields[6] for fields in lines if len(fields) == 8 and fields[6] in inodes}


def _are_gone(inodes: set[str]) -> bool:
    return inodes.isdisjoint(Path("/proc/net/unix").read_text().split())


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], DEADLINE_S)[0])


@pytest.fixture(params=[False, True], ids=["", "SIGINT ignored at start"])
def migrating(
    request: pytest.FixtureRequest, results_dir: Path, qemu_src: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], list[int], set[str]]]:
    """A harness of its own in mid-migration; pidfds and sockets of its two QEMUs."""
    path = tmp_path / "scenario.json"
    path.write_bytes(to_json(Scenario(name="slow", qemu=str(qemu_src), devices=(SLOW,))))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    # A handler of ours is the default in what we start; an ignored signal stays ignored.
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN if request.param else signal.default_int_handler
    )
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))  # noqa: PT021 - also on failure
    with subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "run", str(path), "--steps",
         "--runs", str(results_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "CI": "true"},
    ) as process, contextlib.ExitStack() as stack:  # fmt: skip
        stack.callback(process.kill)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "transfer" in line:
                break
        qemus = [
            pid
            for pid in _descendants(process.pid)
            if "qemu" in Path(f"/proc/{pid}/cmdline").read_text()
        ]
        assert len(qemus) == 2, "".join(said)
        sockets = _sockets(qemus)
        assert sockets, "the migration's socket is not there: nothing would be proved"
        pidfds = [os.pidfd_open(pid) for pid in qemus]
        for pidfd in pidfds:
            stack.callback(os.close, pidfd)
        yield process, pidfds, sockets
    assert not list(temporary.iterdir())


def test_sigkill_of_the_harness_ends_both_qemus(migrating, results_dir: Path) -> None:
    process, pidfds, sockets = migrating
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    assert all(_has_ended(pidfd) for pidfd in pidfds)
    assert _are_gone(sockets)
    (run,) = results_dir.iterdir()
    assert (run / "scenario.json").is_file()
    assert (run / FOLDER).is_dir(), "its files are in the run directory, and nowhere else"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_harness_cleans_up_and_says_so(
    migrating, results_dir: Path, number: int
) -> None:
    process, pidfds, sockets = migrating
    process.send_signal(number)
    said, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    assert all(_has_ended(pidfd) for pidfd in pidfds)
    assert _are_gone(sockets)
    assert not list(results_dir.rglob(FOLDER))


def test_sigkill_of_a_by_hand_script_ends_what_it_has_started(
    results_dir: Path, qemu_src: Path, tmp_path: Path
) -> None:
    """Its children are told by the kernel: the script itself cannot any more."""
    path = tmp_path / "scenario.json"
    slow = EmulatedDevice(id="vfio0", load=LoadBehaviour(write_delay_s=0.5), size=4 * MIB)
    path.write_bytes(to_json(Scenario(name="slow", qemu=str(qemu_src), devices=(slow,))))
    made = [sys.executable, "-m", "harness.cli", "run", str(path), "--runs", str(results_dir)]
    subprocess.run(made, check=False, capture_output=True, timeout=DEADLINE_S)
    (run,) = results_dir.iterdir()
    tools = Path(sys.executable).parent
    with subprocess.Popen(
        ["bash", str(run / "by-hand.sh"), str(tmp_path / "by-hand")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
    ) as script:
        assert script.stdout is not None
        said = []
        for line in script.stdout:  # the answer to a command: both QEMUs are up
            said.append(line)
            if '"return"' in line:
                break
        pids = _descendants(script.pid)
        qemus = [pid for pid in pids if "-machine" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(qemus) >= 2, "".join(said)
        pidfds = [os.pidfd_open(pid) for pid in qemus]
        script.kill()
        assert all(_has_ended(pidfd) for pidfd in pidfds)
        for pidfd in pidfds:
            os.close(pidfd)
