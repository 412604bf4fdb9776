"""A migration is captured once, and given to fresh destinations in any order, with any fault."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.errors import HistoryError
from harness.history import Kind, Record, Side
from harness.history.rundir import CAPTURE
from harness.job.run import Run, run_scenario
from harness.proxy.capture import Capture
from harness.pytest_plugin.counting import interrupted
from harness.scenario import MIB, EmulatedDevice, Scenario, Transport
from harness.scenario.fault_plan import Fault, Flip, MoveToChannel, Order, Rechunk, Reorder, Select
from harness.session.source import scenario_of

SMALL = EmulatedDevice(id="vfio0", size=4 * MIB)
Replayed = Callable[..., Awaitable[Run]]


def named(run: Run, name: str, side: Side = Side.DESTINATION) -> list[Record[Any]]:
    return [r for r in run.history.records if r.name == name and r.side is side]


@pytest.fixture
def captured(results_dir: Path, qemu_src: Path, pytestconfig: pytest.Config):
    """Captures a scenario; a run that a known deviation interrupts is an expected failure."""

    async def capture(**fields: object) -> Capture:
        wanted: dict[str, Any] = {
            "name": "captured",
            "devices": (SMALL,),
            "qemu": str(qemu_src),
            **fields,
        }
        (run,) = await run_scenario(
            Scenario(**wanted),
            results_dir,
            trace_events=pytestconfig.getoption("--trace-events"),
            has_capture=True,
        )
        if run.known is not None:
            pytest.xfail(interrupted(run.known))
        assert run.verdict.overall is Outcome.VALID
        return Capture.load(run.rundir / CAPTURE)

    return capture


@pytest.fixture
def replayed(results_dir: Path, qemu_dst: Path, pytestconfig: pytest.Config) -> Replayed:
    """Replays a capture into the destination under test."""

    async def replay(capture: Capture, *faults: Fault, **fields: object) -> Run:
        scenario = scenario_of(capture, str(qemu_dst), faults)
        (run,) = await run_scenario(
            msgspec.structs.replace(scenario, **fields),
            results_dir,
            trace_events=pytestconfig.getoption("--trace-events"),
            replayed=capture,
        )
        return run

    return replay


def assert_whole(run: Run, devices: int = 1) -> None:
    assert run.verdict.overall is Outcome.VALID, run.verdict.with_outcome(Outcome.VIOLATED)
    received = named(run, "received")
    assert len(received) == devices
    assert all(record.args.first_difference == -1 for record in received)
    assert len(named(run, "launched")) == 1


@pytest.mark.requirement("ORD-1", "ORD-4")
@pytest.mark.parametrize("transport", [Transport.UNIX, Transport.TCP])
async def test_capture_is_replayed_again_and_again(captured, replayed, transport) -> None:
    capture = await captured(transport=transport)
    for _ in range(3):
        assert_whole(await replayed(capture))


@pytest.mark.requirement("ORD-1", "ORD-6")
async def test_several_devices_are_replayed(captured, replayed) -> None:
    devices = tuple(msgspec.structs.replace(SMALL, id=f"vfio{n}", seed=n + 1) for n in range(3))
    run = await replayed(await captured(devices=devices, channels=2))
    assert_whole(run, devices=3)
    assert run.verdict.finding("ORD-6").outcome is Outcome.VALID


@pytest.mark.requirement("ORD-1", "ORD-2")
@pytest.mark.parametrize(
    "faults",
    [
        (Reorder(order=Order.REVERSED),),
        (MoveToChannel(channel=0), Reorder(order=Order.CONFIG_FIRST)),
        (Rechunk(size=100_000), Reorder(order=Order.SHUFFLED)),
    ],
    ids=["reversed", "one channel, config first", "rechunked and shuffled"],
)
async def test_replay_takes_any_order(captured, replayed, faults) -> None:
    run = await replayed(await captured(), *faults)
    assert_whole(run)
    (fired,) = named(run, "faults", Side.HARNESS)
    assert all(fired.args.fired)


@pytest.mark.requirement("ORD-1")
async def test_bytes_that_a_fault_changed_are_the_bytes_that_arrive(captured, replayed) -> None:
    run = await replayed(await captured(), Flip(select=Select(idx=(1,), config=False), offset=7))
    assert run.verdict.overall is Outcome.VALID
    (received,) = named(run, "received")
    assert received.args.first_difference == MIB + 7


async def test_source_of_a_replay_is_the_captured_one(captured, replayed) -> None:
    capture = await captured()
    run = await replayed(capture)
    (note,) = named(run, "replayed", Side.HARNESS)
    assert note.args.capture == str(capture.path)
    assert run.history.manifest.source == capture.manifest.source
    sent = named(run, "sent", Side.SOURCE)
    assert sent[0].args.digest == capture.manifest.devices[0].digest
    assert "LIF-9" in run.verdict.not_applicable


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"channels": 3}, "multifd has 3 channels, captured were 4 channels"),
        ({"ram_mib": 32}, "RAM has 32 MiB, captured were 64 MiB"),
        ({"devices": ()}, "the devices are none, captured were"),
        ({"machine": "pc-q35-99.0"}, "the machine type is pc-q35-99.0, captured was"),
    ],
)
async def test_destination_that_cannot_take_a_capture_is_refused(
    captured, replayed, fields, words
) -> None:
    capture = await captured()
    with pytest.raises(HistoryError, match=words) as refused:
        await replayed(capture, **fields)
    assert "\n" not in str(refused.value)


async def test_capture_is_whole_or_not_there(captured, results_dir) -> None:
    capture = await captured()
    (folder,) = results_dir.iterdir()
    assert not list(folder.glob(".*"))
    damaged = folder / "damaged"
    data = bytearray(capture.path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(HistoryError, match="damaged"):
        Capture.load(damaged)


def vfio_multifd(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *argv],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_commands_capture_and_replay(results_dir: Path, qemu_src: Path, qemu_dst: Path) -> None:
    common = ("--runs", str(results_dir), "--json")
    # One buffer: too little for the known deadlock.
    done = vfio_multifd("run", "--size", "1M", "--capture", "--qemu", str(qemu_src), *common)
    assert done.returncode == 0, done.stdout + done.stderr
    capture = Path(json.loads(done.stdout)["runs"][0]["path"]) / CAPTURE
    told = vfio_multifd("show", str(capture)).stdout
    assert "SWITCHOVER_START: the switchover point" in told
    assert "0000:00:02.0/vfio packet 1: configuration" in told
    fault = '{"fault": "rechunk", "size": 100000}'
    replay = ("replay", str(capture), "--qemu", str(qemu_dst))
    done = vfio_multifd(*replay, "--fault", fault, *common)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["repeat"][: len(replay) + 1] == ["vfio-multifd", *replay]
    records = (Path(run["path"]) / "history.jsonl").read_text()
    assert f'"{Kind.WIRE}"' in records


def test_file_that_is_no_capture_is_refused_in_one_line(tmp_path: Path, qemu_dst: Path) -> None:
    path = tmp_path / "x"
    path.write_text("something else")
    done = vfio_multifd("replay", str(path), "--qemu", str(qemu_dst), "--runs", str(tmp_path))
    assert done.returncode == 4
    assert done.stderr == (
        f"vfio-multifd: error: {path}: not a capture; `vfio-multifd run --capture` writes one\n"
    )
