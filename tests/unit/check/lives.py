"""SYNTHETIC histories of migrations that are cancelled, lose a QEMU, or follow another one."""

import errno
from typing import Any

from harness.check.convergence import ALLOWED, ESTIMATE, EXACT
from harness.check.evidence import CONFIG_START, THREAD_START
from harness.history import wire
from harness.history.device import Read, Received, Reset, Write
from harness.history.process import Exited, Hung, Memory, Resources
from harness.history.records import Kind, Record, Side
from harness.history.rundir import History
from harness.history.session import Action, ActionEnded, Continued, Deadline, Faults, NotConverged
from harness.history.wire import MainResumed, MainStalled
from harness.scenario import LoadBehaviour, Scenario
from harness.scenario.action_plan import Execute, Kill, Storm, Suspend, Target, status
from harness.scenario.fault_plan import Refusal, RefuseConnection
from tests.twins.damage import pick
from tests.unit.check.story import DST, SRC, US, Story, device, history, scenario

RUNNING = {"status": "running", "running": True}
STOPPED = {"status": "finish-migrate", "running": False}
CANCEL = Execute(
    when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="migrate_cancel"
)
STORM = Storm(
    when=status(Target.DESTINATION, "active"),
    target=Target.DESTINATION,
    commands=("query-status", "query-pci"),
)
KILL_SOURCE = Kill(when=status(Target.SOURCE, "active"), target=Target.SOURCE)
KILL_DESTINATION = Kill(when=status(Target.SOURCE, "active"), target=Target.DESTINATION)
QUIT_DESTINATION = Execute(
    when=status(Target.SOURCE, "active"), target=Target.DESTINATION, command="quit"
)
UNPLUG = Execute(
    when=status(Target.SOURCE, "active"),
    target=Target.SOURCE,
    command="device_del",
    arguments={"id": "vfio0"},
    refused_with="",
)
PAUSE = Execute(
    when=status(Target.SOURCE, "active"),
    target=Target.SOURCE,
    command="migrate-pause",
    refused_with="",
)
STOP = Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="stop")
CONT = Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="cont")
RESET = Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="system_reset")
PAUSED = {"status": "paused", "running": False}


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
        self.put("harness", Action(action="", position=position))

    def cancelled(self) -> None:
        """Both sides end as they do after a cancel."""
        self.status(SRC, "cancelling", "cancelled")
        self.status(DST, "failed")

    def killed(self, side) -> None:
        self.put(side, Exited(status=-1, signal=9, asked=True))

    def died(self, side, signal: int = 6, status: int = -1) -> None:
        self.put(side, Exited(status=status, signal=signal, asked=False))

    def asked(self, side, value: dict[str, Any] = RUNNING) -> None:
        self.qmp(side, "query-status", value)

    def silent(self, side) -> None:
        """``side`` does not answer when it is asked."""
        self.add(side, Kind.QMP, "execute", command="query-status", arguments={})

    def hangs(self, side, *, main_loop_alive: bool = True) -> None:
        """``side`` does not end by the deadline."""
        self.put("harness", Deadline(waiting_for=f"{side}", deadline_s=15.0))
        alive = {"main_loop_alive": main_loop_alive, "monitor_alive": True}
        self.put(side, Hung(waiting_for="the end", backtrace="", **alive))

    def received(self, got: int, difference: int = -1) -> None:
        """The destination's only device tells what it holds."""
        size = self.scenario.devices[0].total_size
        received = Received(
            bytes=got,
            digest="d",
            expected_bytes=size,
            expected_digest="d",
            first_difference=difference,
        )
        self.put(DST, received, "vfio0")

    def history(self) -> History:
        return history(self.scenario, self.records)


def cancelled() -> Life:
    """A cancel during ``active``; both sides have ended."""
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    life.cancelled()
    return life


def paused(*, at: str = "active", has_effect: bool = True) -> Life:
    """The scenario pauses the guest in the status ``at``; what follows is the test's."""
    reached = ("setup", "active", "pre-switchover", "device")
    capabilities = {"pause-before-switchover": True} if at == "pre-switchover" else {}
    planned = scenario(actions=(STOP, CANCEL), capabilities=capabilities)
    life = Life(planned, reached[: reached.index(at) + 1])
    life.act()
    reason = "paused" if has_effect else "finish-migrate"
    told = {"running": 0, "reason": reason, "dev_state": "STOP"}
    t = None if has_effect else life.at - US
    life.trace(SRC, "vfio_vmstate_change", "vfio0", t=t, **told)
    life.put("harness", ActionEnded(position=0, how="done"))
    return life


def paused_and_cancelled(state: dict[str, Any] = PAUSED, **how: Any) -> History:
    """Then the migration is cancelled, and the source says that its guest is in ``state``."""
    life = paused(**how)
    life.act(1)
    life.put("harness", ActionEnded(position=1, how="done"))
    life.cancelled()
    life.asked(SRC, state)
    life.asked(DST, {"status": "inmigrate", "running": False})
    life.quit(SRC)
    life.quit(DST)
    return life.history()


SUSPEND = Suspend(when=status(Target.SOURCE, "active"))


def suspended_and_cancelled() -> History:
    """The guest is suspended in pre-copy; then the migration is cancelled."""
    life = Life(scenario(actions=(SUSPEND, CANCEL)), ("setup", "active"))
    life.act()
    life.put("harness", ActionEnded(position=0, how="done"))
    life.add(SRC, Kind.QMP, "SUSPEND")
    life.act(1)
    life.put("harness", ActionEnded(position=1, how="done"))
    life.cancelled()
    life.asked(SRC, {"status": "suspended", "running": False})
    life.asked(DST, {"status": "inmigrate", "running": False})
    life.quit(SRC)
    life.quit(DST)
    return life.history()


def unplugged(how: Any = "refused", action: Execute = UNPLUG, at: str = "active") -> Life:
    """A device is to be unplugged in the status ``at``; what follows is the test's."""
    reached = ("setup", "active", "pre-switchover", "device")
    life = Life(scenario(actions=(action, CANCEL)), reached[: reached.index(at) + 1])
    life.act()
    words = ("GenericError", "device_del not allowed while migrating")
    error = words if how == "refused" else (None, None)
    life.put("harness", ActionEnded(position=0, how=how, error_class=error[0], desc=error[1]))
    return life


def unplug_refused() -> History:
    """Then the migration is cancelled."""
    life = unplugged()
    life.act(1)
    life.put("harness", ActionEnded(position=1, how="done"))
    life.cancelled()
    return ended(life)


def pause_of_migration(how: Any = "refused", desc: str | None = "postcopy only") -> Life:
    """migrate-pause is sent while the source migrates, which is then cancelled."""
    life = Life(scenario(actions=(PAUSE, CANCEL)))
    life.act()
    error = ("GenericError", desc) if how == "refused" else (None, None)
    life.put("harness", ActionEnded(position=0, how=how, error_class=error[0], desc=error[1]))
    life.act(1)
    life.put("harness", ActionEnded(position=1, how="done"))
    life.cancelled()
    return life


def reset(state: str = "PRE_COPY", *, event: bool = True, noticed: bool = True) -> Life:
    """The guest is reset while the source's device is in ``state``."""
    life = Life(scenario(device(pre_copy=True)))
    life.arc(SRC, "vfio0", state)
    life.put(SRC, Reset(), "vfio0")
    if event:
        life.add(SRC, Kind.QMP, "RESET", guest=False, reason="host-qmp-system-reset")
    if noticed:
        args = {"offset": 0, "asked": 9, "got": 0, "errno": errno.ENODEV}
        life.put(SRC, Read(**args), "vfio0")
    life.status(SRC, "failed")
    life.status(DST, "failed")
    return life


def reset_in_pre_copy() -> History:
    """The guest is reset as planned, so that the migration fails."""
    life = Life(scenario(device(pre_copy=True), actions=(RESET,)))
    life.arc(SRC, "vfio0", "PRE_COPY")
    life.act()
    life.put(SRC, Reset(), "vfio0")
    life.add(SRC, Kind.QMP, "RESET", guest=False, reason="host-qmp-system-reset")
    life.put("harness", ActionEnded(position=0, how="done"))
    life.put(SRC, Read(offset=0, asked=9, got=0, errno=errno.ENODEV), "vfio0")
    life.status(SRC, "failed")
    life.status(DST, "failed")
    why = "vfio0: reading state buffer 0 failed: 19"
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": why})
    life.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of stream failed"})
    return ended(life)


def reset_destination(*, noticed: bool = True) -> Life:
    """The destination's guest is reset while its device is loaded."""
    life = Life(scenario(device()), ("setup", "active", "device"))
    life.arc(DST, "vfio0", "RESUMING")
    life.put(DST, Reset(), "vfio0")
    life.add(DST, Kind.QMP, "RESET", guest=False, reason="host-qmp-system-reset")
    if noticed:
        args = {"offset": 0, "asked": 9, "got": 0, "errno": errno.ENODEV}
        life.put(DST, Write(**args), "vfio0")
    life.status(DST, "active", "failed")
    life.status(SRC, "failed")
    return life


def killed_destination() -> History:
    """The destination is killed; the source fails the migration and runs on."""
    life = Life(scenario(actions=(KILL_DESTINATION,)))
    life.act()
    life.killed(DST)
    life.status(SRC, "failed")
    life.asked(SRC)
    life.quit(SRC)
    return life.history()


def quit_as_planned(status: int = 0, signal: int = 0) -> Life:
    """The destination is told to quit; what its source does is the test's."""
    life = Life(scenario(actions=(QUIT_DESTINATION,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="done"))
    life.died(DST, signal, status)
    return life


def left_by_its_destination() -> History:
    """It quits as planned; the source fails the migration and runs on."""
    life = quit_as_planned()
    life.status(SRC, "failed")
    life.asked(SRC)
    life.quit(SRC)
    return life.history()


def device_error() -> History:
    """The destination's device fails a write; both sides fail, and the source runs on."""
    life = Life(scenario(device(load=LoadBehaviour(error_at=0))), ("setup", "active", "device"))
    life.put(DST, Write(offset=0, asked=9, got=0, errno=5), "vfio0")
    life.status(DST, "active", "failed")
    life.status(SRC, "failed")
    said = {"status": "failed", "error-desc": "vfio0: writing state buffer 0 failed: 5"}
    life.qmp(DST, "query-migrate", said)
    life.end("inmigrate")
    return life.history()


def refused_connection(accepted: int = 1, how: Refusal = Refusal.RESET) -> Life:
    """The relay refuses a connection of the source, which fails; the rest is the test's."""
    fault = RefuseConnection(accepted=accepted, how=how)
    life = Life(scenario(faults=(fault,)), ("setup",))
    life.put("harness", wire.Fault("refuse_connection", 0, f"connection refused: {how}"))
    life.status(DST, "setup")
    life.status(SRC, "failed")
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "Connection refused"})
    life.put("harness", Faults([1], [False]))
    return life


def sent_on(life: Life, size: int | None = 38) -> None:
    """A connection has come, and so much of it went to the destination; None if it is open."""
    life.put("harness", wire.ChannelOpened(3, "main"))
    if size is not None:
        life.put("harness", wire.ChannelClosed(3, size, 0))


def refused_by_both() -> History:
    """The destination got the main channel, and fails too."""
    life = refused_connection()
    sent_on(life)
    life.status(DST, "failed")
    return ended(life)


def not_converging(passes: int = 30, pending: int = 64 << 20, allowed: int = 5 << 20) -> Life:
    """A source that is in pre-copy to the end; a pass takes 100 ms, as one count does."""
    life = Life(scenario())
    for _ in range(passes):
        life.at += 100_000 * US
        life.trace(SRC, ESTIMATE, size=0, pre=0, post=0)
        life.trace(SRC, EXACT, size=pending, pre=pending, post=0)
        life.trace(
            SRC, ALLOWED, transferred=1, time_spent=100, bandwidth=1, avail_bw=1, size=allowed
        )
    return life


def called_off(life: Life, *, answer: dict[str, Any] | None = RUNNING) -> Life:
    """The time is over; the harness cancels, and both sides end."""
    life.put("harness", NotConverged(deadline_s=3.0))
    if answer is not None:
        life.asked(SRC, answer)
    life.qmp(SRC, "migrate_cancel")
    life.cancelled()
    return life


def ended(life: Life) -> History:
    """Both QEMUs are asked whether they run, and told to quit."""
    life.end("inmigrate")
    return life.history()


LIVES = {
    "cancelled": lambda: ended(cancelled()),
    "paused": paused_and_cancelled,
    "suspended": suspended_and_cancelled,
    "killed destination": killed_destination,
    "unplug refused": unplug_refused,
    "pause refused": lambda: ended(pause_of_migration()),
    "quit as planned": left_by_its_destination,
    "device error": device_error,
    "reset in pre-copy": reset_in_pre_copy,
    "connection refused": refused_by_both,
    "nobody listens": lambda: ended(refused_connection(0, Refusal.NOT_LISTENING)),
    "not converging": lambda: ended(called_off(not_converging())),
}
"""Runs that keep the requirements."""


# -- what is added to a run that completes ------------------------------------------------


def added(run: History, *records: Record) -> History:
    """``run`` with more records."""
    return history(run.scenario, [*run.records, *records])


def continued(run: History, after: str) -> History:
    """``run`` as the migration that follows one which ended so."""
    return added(run, Record.of(run.records[0].t_ns, Side.HARNESS, Continued(after=after)))


def holding(
    run: History, sockets: int = 1, threads: dict[str, int] | None = None, files: int = 3
) -> History:
    """``run``, whose source holds so much after it, and one socket and three files before."""
    before = Resources("booted", {"file": 3, "socket": 1}, {"call_rcu": 1, "qemu": 1})
    held = {"file": files, "socket": sockets}
    after = Resources("ended", held, threads or {"call_rcu": 1, "qemu": 1})
    return added(
        run,
        Record.of(run.records[0].t_ns, SRC, before),
        Record.of(run.records[-1].t_ns, SRC, after),
    )


def stormy(run: History, *, is_answered: bool = True, is_early: bool = True) -> History:
    """``run`` with a storm of three commands before or after its load."""
    (active,) = pick(run.records, "MIGRATION", side=DST, status="active")
    at = active.t_ns if is_early else run.records[-1].t_ns
    storm: list[Record] = [Record.of(at, Side.HARNESS, Action(action="", position=0))]
    for _ in range(3):
        storm.append(Record(at, DST, Kind.QMP, "execute", {"command": "query-pci"}))
        if is_answered:
            answer = {"command": "query-pci", "value": []}
            storm.append(Record(at, DST, Kind.QMP, "return", answer))
    return added(run, *storm)


def measured(run: History, grown: int, left: int = 0) -> History:
    """``run``, whose destination grew and kept so many KiB."""
    started = 40_000
    first = Memory(hwm_kib=started, rss_kib=started, at="booted")
    last = Memory(hwm_kib=started + grown, rss_kib=started + left, at="ended")
    return added(
        run,
        Record.of(run.records[0].t_ns, DST, first),
        Record.of(run.records[-1].t_ns, DST, last),
    )


def stalled(run: History, *, waits: bool) -> History:
    """``run`` of one device, its main channel stalled until before or after the config load."""
    (begun,) = [record for record in run.records if record.name == THREAD_START]
    (loaded,) = [record for record in run.records if record.name == CONFIG_START]
    until = loaded.t_ns + (-US if waits else US)
    return added(
        run,
        Record.of(begun.t_ns + US, Side.HARNESS, MainStalled()),
        Record.of(until, Side.HARNESS, MainResumed()),
    )
