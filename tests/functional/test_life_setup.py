"""LIF-3 and LIF-4 in ``setup``, held there by a source device that does not answer.

QEMU asks the device for the size of its state while all channels are connected and nothing
of it was sent.  The device answers once the action was done.
"""

import asyncio
import threading
import time
from typing import Any, cast

import pytest

from harness.check.judge import judge
from harness.devices.emulated import EmulatedDevices
from harness.history import Kind, Record, Side
from harness.job.run import Run
from harness.pytest_plugin.counting import interrupted
from harness.scenario import MIB, EmulatedDevice
from harness.scenario.action_plan import Execute, Kill, Target, When
from harness.session.session import Session

HELD = When(kind="session", name="held")
DEVICE = EmulatedDevice(id="vfio0", size=MIB)
MOST_S = 10.0


class Hold:
    """Lets the source's device answer nothing from ``setup`` on, until an action was done.

    :ivar is_over: whether the action was done in time
    """

    def __init__(self, session: Session) -> None:
        self._log = session.log
        (kind,) = session.source.devices.kinds
        assert isinstance(kind, EmulatedDevices)
        self._function = cast(Any, kind.devices[0].function)
        self._answer = self._function.ioctl
        self._is_set_up = threading.Event()
        self._is_done = threading.Event()
        self.is_over = False
        self._function.ioctl = self._ioctl
        self._log.listen(self._hear)

    def _hear(self, record: Record[Any]) -> None:
        # Its status tells setup a moment later, when a quick QEMU may be past it.
        if record.name == "execute" and record.args["command"] == "migrate":
            self._is_set_up.set()
        is_cancel = record.name == "execute" and record.args["command"] == "migrate_cancel"
        if is_cancel or record.name == "exited":
            self._is_done.set()

    def _ioctl(self, *request: Any) -> Any:
        """In the supervisor's thread, as every answer to QEMU."""
        if self._is_set_up.is_set() and not self.is_over:
            self._log(Record(time.time_ns(), Side.HARNESS, Kind.SESSION, "held", {}))
            self.is_over = self._is_done.wait(MOST_S)
        return self._answer(*request)


@pytest.mark.parametrize(
    "requirement",
    [
        pytest.param(
            "LIF-3",
            id="kill the source",
            marks=pytest.mark.scenario(actions=(Kill(when=HELD, target=Target.SOURCE),)),
        ),
        pytest.param(
            "LIF-3",
            id="kill the destination",
            marks=pytest.mark.scenario(actions=(Kill(when=HELD, target=Target.DESTINATION),)),
        ),
        pytest.param(
            "LIF-4",
            id="cancel",
            marks=pytest.mark.scenario(
                actions=(Execute(when=HELD, target=Target.SOURCE, command="migrate_cancel"),)
            ),
        ),
    ],
)
@pytest.mark.scenario(devices=(DEVICE,))
@pytest.mark.requirement("LIF-3", "LIF-4")
async def test_action_while_the_source_sets_up(pair_booted, kept, requirement) -> None:
    hold = Hold(pair_booted)
    async with asyncio.timeout(60):
        await pair_booted.migrate()
        history = await pair_booted.stop()
    assert hold.is_over, "the action was not done while the device was silent"
    run = Run(pair_booted.rundir.path, history, judge(history))
    if run.known is not None:
        pytest.xfail(interrupted(run.known))
    kept(run, requirement)
    assert run.verdict.finding(requirement).numbers["at"] == "setup"
