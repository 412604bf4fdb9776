"""The pair of QEMUs by its lifecycle; a QEMU that dies or hangs is a finding, with evidence."""

import os
import shutil
import signal

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.process import Hung
from harness.scenario import MIB, EmulatedDevice
from tests.records import held

SMALL = (EmulatedDevice(id="vfio0", size=MIB),)


@pytest.mark.scenario(devices=SMALL)
def test_pair_that_is_built_runs_nothing_yet(pair_built) -> None:
    assert not pair_built.source.vm.is_running
    assert not pair_built.destination.vm.is_running


@pytest.mark.scenario(devices=SMALL, channels=3)
async def test_pair_that_is_booted_is_configured_alike(pair_booted) -> None:
    for peer, status in ((pair_booted.source, "running"), (pair_booted.destination, "inmigrate")):
        assert (await peer.vm.monitor.execute("query-status"))["status"] == status
        parameters = await peer.vm.monitor.execute("query-migrate-parameters")
        assert parameters["multifd-channels"] == 3


@pytest.mark.scenario(devices=SMALL)
async def test_pair_that_is_migrated_runs_on_the_destination(pair_migrated) -> None:
    for peer, status in (
        (pair_migrated.source, "postmigrate"),
        (pair_migrated.destination, "running"),
    ):
        assert (await peer.vm.monitor.execute("query-status"))["status"] == status
    assert judge(await pair_migrated.stop()).overall is Outcome.VALID


@pytest.mark.scenario(devices=SMALL, deadline_s=20)
@pytest.mark.parametrize("side", [Side.SOURCE, Side.DESTINATION])
async def test_qemu_that_dies_of_a_signal_is_a_violated_run(pair_booted, side) -> None:
    process = getattr(pair_booted, side).vm.process
    os.kill(process.pid, signal.SIGABRT)
    assert await process.wait(60)
    await pair_booted.migrate()
    finding = judge(await pair_booted.stop()).finding("RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the {side} QEMU ended by signal 6" in finding.sentence


@pytest.mark.scenario(devices=SMALL, deadline_s=2)
async def test_qemu_that_stops_answering_is_a_finding_with_a_backtrace(pair_booted) -> None:
    process = pair_booted.destination.vm.process
    os.kill(process.pid, signal.SIGSTOP)
    await pair_booted.migrate()
    history = await pair_booted.stop()
    (hung,) = held(history, Hung, Side.DESTINATION)
    assert hung.monitor_alive is False
    assert str(process.pid) in hung.backtrace
    if shutil.which("gdb"):
        assert "Thread 1 " in hung.backtrace
    assert judge(history).finding("RUN").outcome is Outcome.VIOLATED
    assert process.returncode == -signal.SIGKILL, "it was stopped: nothing else ends it"
