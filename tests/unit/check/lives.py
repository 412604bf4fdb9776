"""SYNTHETIC histories of migrations that are cancelled, lose a QEMU, or follow another one."""

from typing import Any

from harness.action_plan import Execute, Kill, Target, status
from harness.history.records import Kind, Record
from harness.history.rundir import History
from harness.scenario import Scenario
from tests.unit.check.story import DST, SRC, Story, history, scenario

RUNNING = {"status": "running", "running": True}
STOPPED = {"status": "finish-migrate", "running": False}
CANCEL = Execute(
    when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="migrate_cancel"
)
KILL_SOURCE = Kill(when=status(Target.SOURCE, "active"), target=Target.SOURCE)
KILL_DESTINATION = Kill(when=status(Target.SOURCE, "active"), target=Target.DESTINATION)


class Life(Story):
    """Writes a run up to ``active``, and what the test wants from there."""

    def __init__(self, scenario: Scenario, reached: tuple[str, ...] = ("setup", "active")) -> None:
        super().__init__()
        self.scenario = scenario
        self.boot(scenario)
        self.qmp(DST, "migrate-incoming")
        self.qmp(SRC, "migrate")
        self.status(SRC, *reached)

    def act(self, position: int = 0) -> None:
        """An action of the scenario is done."""
        self.add("harness", Kind.SESSION, "action", action="", position=position)

    def cancelled(self) -> None:
        """Both sides end as they do after a cancel."""
        self.status(SRC, "cancelling", "cancelled")
        self.status(DST, "failed")

    def killed(self, side) -> None:
        self.add(side, Kind.PROCESS, "exited", status=-1, signal=9, asked=True)

    def died(self, side, signal: int = 6, status: int = -1) -> None:
        self.add(side, Kind.PROCESS, "exited", status=status, signal=signal, asked=False)

    def asked(self, side, value: dict[str, Any] = RUNNING) -> None:
        self.qmp(side, "query-status", value)

    def hangs(self, side, *, main_loop_alive: bool = True) -> None:
        """``side`` does not end by the deadline."""
        self.add("harness", Kind.SESSION, "deadline", waiting_for=f"{side}", deadline_s=15.0)
        alive = {"main_loop_alive": main_loop_alive, "monitor_alive": True}
        self.add(side, Kind.PROCESS, "hung", waiting_for="the end", backtrace="", **alive)

    def received(self, got: int, difference: int = -1) -> None:
        """The destination's only device tells what it holds."""
        size = self.scenario.devices[0].total_size
        self.add(
            DST, Kind.DEVICE, "received", "vfio0", bytes=got, digest="d", expected_bytes=size,
            expected_digest="d", first_difference=difference,
        )  # fmt: skip

    def history(self) -> History:
        return history(self.scenario, self.records)


def cancelled() -> Life:
    """A cancel during ``active``; both sides have ended."""
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    life.cancelled()
    return life


def continued(run: History, after: str) -> History:
    """``run`` as the migration that follows one which ended so."""
    first = Record(run.records[0].t_ns, "harness", Kind.SESSION, "continued", {"after": after})
    return history(run.scenario, [first, *run.records])
