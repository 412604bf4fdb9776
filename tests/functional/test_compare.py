"""Saved runs compared, and series measured, on real QEMUs."""

import json
from argparse import Namespace
from pathlib import Path

import msgspec

from harness.commands import compare, measure
from harness.job.run import run_scenario
from harness.job.settings import Settings, with_builds
from harness.report import measurement_text
from harness.scenario import MIB, EmulatedDevice, Lie, LoadBehaviour, SaveBehaviour, Scenario


async def test_run_that_breaks_a_requirement_is_worse_than_one_that_does_not(
    results_dir: Path, qemu_src: Path, qemu_dst: Path, capsys
) -> None:
    # Its first packet comes behind the final RAM synchronisation: no known deadlock.
    save = SaveBehaviour(read_delay_s=0.05)
    device = EmulatedDevice(id="vfio0", size=2 * MIB, save=save)
    good = Scenario(name="plain", qemu=str(qemu_src), qemu_dst=str(qemu_dst), devices=(device,))
    good = with_builds(good, Settings())
    liar = msgspec.structs.replace(device, load=LoadBehaviour(lie=Lie.LOST_BUFFER))
    bad = msgspec.structs.replace(good, devices=(liar,))
    for folder, scenario in (("good", good), ("again", good), ("bad", bad)):
        await run_scenario(scenario, results_dir / folder)

    def compared(before: str, after: str) -> tuple[int, dict]:
        options = Namespace(before=results_dir / before, after=results_dir / after, json=True)
        status = compare.run(options)
        return status, json.loads(capsys.readouterr().out)

    status, found = compared("good", "again")
    assert (status, found["changes"]) == (0, [])
    (pair,) = found["pairs"]
    for side in ("before", "after"):
        (numbers,) = pair[side]
        assert numbers["downtime_ms"] > 0
        assert numbers["throughput_mib_s"] > 0
        assert sum(numbers["channels"].values()) == 3  # two of data, the configuration
        assert numbers["memory_kib"]["destination"] > 10_000
    status, found = compared("good", "bad")
    assert status == 1
    assert "ORD-1" in {c["requirement"] for c in found["changes"] if c["is_worse"]}


def test_series_differ_in_what_they_say_and_nothing_else(
    results_dir: Path, qemu_src: Path, qemu_dst: Path
) -> None:
    settings = Settings(qemu=str(qemu_src), qemu_dst=str(qemu_dst), size=MIB)
    wanted = measure.wanted(["transfer=off", "transfer=on"], settings, Scenario(name="plain"))
    found = measure.measure(wanted, results_dir, 2, say=print)
    off, on = found.series
    assert len(off.runs) == len(on.runs) == 2
    for one in (off, on):
        for run in one.runs:
            assert run.left_out == "" or run.outcome == "known deviation"
            if not run.left_out:
                assert run.measured is not None
                assert run.measured.downtime_ms
                # Over the main channel nothing of the device comes on a multifd channel.
                assert bool(run.measured.channels) == (one is on)
    assert any(measurement_text.lines(found))
    assert json.loads((Path(found.path) / "measure.json").read_bytes())["rounds"] == 2
