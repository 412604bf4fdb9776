"""A sanitizer's report is a finding of a run that is else as it must be."""

import shlex
from pathlib import Path

import pytest

from harness.check.verdict import Outcome
from harness.history.process import Stderr
from harness.scenario import MIB, EmulatedDevice, Scenario
from harness.vm import builds, fetched, sanitizers

SMALL = (EmulatedDevice(id="vfio0", size=MIB),)


@pytest.mark.requirement("RUN")
async def test_report_is_seen_though_the_qemu_ends_well(judged, results_dir, qemu_src) -> None:
    """A program that writes one, and is QEMU from then on."""
    folder = results_dir / "reporting"
    (folder / "trace").mkdir(parents=True)
    events = builds.trace_events_path(qemu_src).read_bytes()
    (folder / "trace" / "trace-events-all").write_bytes(events)
    program = folder / fetched.BINARY
    said = "../hw/vfio/migration.c:1:2: runtime error: shift exponent 64 is too large"
    program.write_text(
        f"#!/bin/sh\n[ $# -lt 9 ] || echo {shlex.quote(said)} >&2\n"
        f'exec {shlex.quote(str(qemu_src))} "$@"\n'
    )
    program.chmod(0o755)
    run = await judged(
        Scenario(name="reporting", qemu=str(qemu_src), qemu_dst=str(program), devices=SMALL)
    )
    (finding,) = [each for each in run.verdict.findings if each.outcome is Outcome.VIOLATED]
    assert finding.requirement == "RUN"
    assert finding.sentence == f"the destination QEMU: UndefinedBehaviorSanitizer: {said}"
    assert finding.evidence[0].args == Stderr(said)


@pytest.fixture
def sanitized() -> Path:
    """A build with a sanitizer that needs a shadow of the memory."""
    for binary in fetched.binaries():
        if sanitizers.has_shadow(sanitizers.of(binary)):
            return binary
    pytest.skip("no such build is here: vfio-multifd qemu build 10.2.2 --variant asan makes one")


@pytest.mark.requirement("RUN", "ORD-1")
async def test_build_with_a_shadow_comes_up_and_its_memory_is_not_judged(
    judged, kept, sanitized
) -> None:
    run = await judged(Scenario(name="sanitized", qemu=str(sanitized), devices=SMALL))
    assert run.history.manifest.destination.sanitizers
    assert "LIF-8" in run.verdict.not_applicable
    kept(run, "RUN", "ORD-1")
