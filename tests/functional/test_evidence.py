"""What counts as evidence: only what the thing itself has shown."""

from collections.abc import Sequence
from typing import Any

import pytest

from harness.check.evidence import Endings, Evidence, Seen
from harness.check.verdict import Outcome
from harness.history import Record, Side
from harness.history.device import Read, Write
from harness.history.wire import ChannelEnded
from harness.job.run import Run
from harness.model.expectation import expect
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    LoadBehaviour,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
    Transport,
)
from harness.scenario.action_plan import Execute, Target, When, status
from harness.scenario.fault_plan import HoldConnections, Until
from harness.scenario.main_job import STAYS_ACTIVE
from harness.vm.migration import DOWNTIME_LIMIT_MS, UNLIMITED_BYTES_PER_S
from tests.records import held, of

FAST = {
    "downtime-limit": DOWNTIME_LIMIT_MS,
    "max-bandwidth": UNLIMITED_BYTES_PER_S,
    "avail-switchover-bandwidth": UNLIMITED_BYTES_PER_S,
}


def _device(**fields) -> EmulatedDevice:
    return EmulatedDevice(**{"id": "vfio0", "size": 4 * MIB, **fields})


# -- errors -------------------------------------------------------------------------------


@pytest.mark.requirement("LIF-5")
@pytest.mark.parametrize("path", [OnOffAuto.ON, OnOffAuto.OFF], ids=["multifd", "main"])
@pytest.mark.parametrize("fails", ["read", "write"])
async def test_words_that_name_a_device_are_of_its_failure(judged, path, fails) -> None:
    """QEMU 11.1 names the device in a warning at start-up, too."""
    behaviour: dict[str, Any] = {"save": SaveBehaviour(error_at=MIB)}
    if fails == "write":
        behaviour = {"load": LoadBehaviour(error_at=MIB)}
    run = await judged(
        Scenario(name="words", devices=(_device(multifd_transfer=path, **behaviour),))
    )
    finding = run.verdict.finding("LIF-5")
    assert "warning" not in str(finding.numbers.get("said", ""))
    calls: Sequence[Record[Any]] = of(run, Read) if fails == "read" else of(run, Write)
    failed = min(call.t_ns for call in calls if call.args.errno == 5)
    side = Side.SOURCE if fails == "read" else Side.DESTINATION
    said = _endings(run).errors_since(side, failed)
    assert said.certain, "an error that was said at once has a later time than the failure"
    assert not said.possible


@pytest.mark.requirement("LIF-5")
async def test_end_of_pre_copy_is_no_failed_read(judged) -> None:
    failing = _device(pre_copy=True, precopy_initial_bytes=64, load=LoadBehaviour(error_at=0))
    scenario = Scenario(name="enomsg", devices=(failing,), parameters=STAYS_ACTIVE, deadline_s=10)
    run = await judged(scenario)
    finding = run.verdict.finding("LIF-5")
    assert "vfio0 failed a write at byte 0" in finding.sentence


# -- resets -------------------------------------------------------------------------------

RESET = (
    Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="system_reset"),
    Execute(
        when=When(name="RESET", side=Side.SOURCE),
        target=Target.SOURCE,
        command="migrate-set-parameters",
        arguments=FAST,
    ),
)


@pytest.mark.requirement("RUN")
async def test_guest_that_is_reset_in_pre_copy_ends_the_migration(judged, kept) -> None:
    device = _device(pre_copy=True, precopy_initial_bytes=MIB, precopy_dirty_bytes=2 * MIB)
    scenario = Scenario(
        name="reset", devices=(device,), parameters=STAYS_ACTIVE, actions=RESET, deadline_s=20
    )
    run = await judged(scenario)
    kept(run, "RUN")
    cause = run.verdict.finding("RUN").numbers["cause"]
    assert cause == "the guest was reset while vfio0 was in PRE_COPY"
    errors = {read.errno for read in held(run, Read)}
    assert 9 not in errors, "EBADF: the harness has taken the descriptor away"


@pytest.mark.requirement("RUN")
async def test_guest_that_is_reset_while_it_is_loaded_may_end_the_migration(judged) -> None:
    reset = Execute(
        when=status(Target.SOURCE, "device"), target=Target.DESTINATION, command="system_reset"
    )
    slow = _device(data_path=DataPath.SUPERVISED, save=SaveBehaviour(read_delay_s=0.1))
    run = await judged(Scenario(name="reset", devices=(slow,), actions=(reset,)))
    finding = run.verdict.finding("RUN")
    assert finding.outcome is not Outcome.VIOLATED
    assert "the destination's guest was reset while vfio0 was in RESUMING" in finding.sentence


@pytest.mark.requirement("LIF-5")
async def test_source_does_not_learn_of_a_failed_write_without_a_return_path(judged, kept) -> None:
    failing = _device(load=LoadBehaviour(error_at=MIB))
    run = await judged(Scenario(name="blind", devices=(failing,), return_path=False))
    finding = run.verdict.finding("LIF-5")
    if finding.outcome is Outcome.UNKNOWN:  # the source may end the stream first
        seen = "may be about the end of the stream", "no device was seen to fail"
        assert any(words in finding.sentence for words in seen), finding.sentence
        return
    kept(run, "LIF-5")


@pytest.mark.requirement("ORD-4")
async def test_registers_are_those_of_the_source_when_it_stopped(judged, kept) -> None:
    """A reset clears what the harness has written at boot."""
    scenario = Scenario(
        name="reset", devices=(_device(),), parameters=STAYS_ACTIVE, actions=RESET, deadline_s=20
    )
    run = await judged(scenario)
    kept(run, "RUN", "ORD-1", "ORD-4")
    views = [r for r in run.history.records if r.name == "guest_config" and r.side is Side.SOURCE]
    assert views[0].args != views[-1].args, "the reset changed nothing: nothing was proved"


# -- connections that wait ----------------------------------------------------------------


@pytest.mark.parametrize("accepted", [0, 1, 3])
async def test_connections_that_were_held_over_tcp_are_whole(judged, kept, accepted) -> None:
    late = HoldConnections(accepted=accepted, until=Until(delay_s=1))
    scenario = Scenario(name="held", devices=(_device(),), transport=Transport.TCP, faults=(late,))
    run = await judged(scenario)
    kept(run, "RUN", "ORD-1")
    assert run.verdict.overall is Outcome.VALID
    assert not [end for end in held(run, ChannelEnded) if end.is_reset]


def _endings(run: Run) -> Endings:
    manifest = run.history.manifest
    expectation = expect(run.history.scenario, manifest.source, manifest.destination)
    return Evidence(Seen(run.history), expectation).endings


# -- pre-copy that does not converge ------------------------------------------------------


@pytest.mark.requirement("PRE-5")
@pytest.mark.parametrize("pre_copy", [False, True])
async def test_pre_copy_that_does_not_converge_is_no_hang(judged, kept, pre_copy) -> None:
    limits = {"downtime-limit": 300, "max-bandwidth": MIB, "avail-switchover-bandwidth": 16 * MIB}
    device = _device(size=64 * MIB, pre_copy=pre_copy)
    scenario = Scenario(name="slow", devices=(device,), parameters=limits, deadline_s=2)
    run = await judged(scenario)
    kept(run, "RUN", "PRE-5")
    numbers = run.verdict.finding("PRE-5").numbers
    assert numbers["pending"] >= 64 * MIB
    assert 4 * MIB < numbers["allowed"] < 6 * MIB
    assert not [record for record in run.history.records if record.name in ("hung", "deadline")]


# -- a limit that a slow device meets -----------------------------------------------------

LIMIT = "x-migration-max-queued-buffers-size"


@pytest.mark.requirement("REF-12", "REF-11")
async def test_limit_that_a_slow_device_meets_is_the_reason(judged, kept, qemu_facts) -> None:
    if any(LIMIT not in probe.facts.vfio_pci_properties for probe in qemu_facts):
        pytest.skip(f"this build's vfio-pci has no {LIMIT}")
    slow = _device(
        size=16 * MIB, properties={LIMIT: 2 * MIB}, load=LoadBehaviour(write_delay_s=0.05)
    )
    run = await judged(Scenario(name="limit", devices=(slow,), deadline_s=8))
    kept(run, "RUN", "REF-12", "REF-11")
    said = run.verdict.finding("REF-12").numbers["said"]
    assert "would exceed the size max of 2097152" in said
