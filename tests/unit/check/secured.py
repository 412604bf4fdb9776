"""SYNTHETIC histories of migrations with TLS."""

from harness.history.records import Kind, Record
from harness.history.rundir import History
from harness.scenario import Scenario
from tests.unit.check.lives import Life, added
from tests.unit.check.story import DST, SRC, US

SOCKET, TLS = "qio-channel-socket", "qio-channel-tls"


def secured(run: History, *, relay: bool = True, trace: bool = True, channels: int = 0) -> History:
    """``run``, which completes, with what relay and traces tell of its channels.

    :param channels: multifd channels that are told of; 0: all
    """
    (begun,) = [r for r in run.records if r.args.get("status") == "setup" and r.side is SRC]
    more: list[Record] = []

    def add(side, kind, name, /, **args):
        more.append(Record(begun.t_ns + US, side, kind, name, args))

    for number in range(1 + (channels or run.scenario.channels)):
        if relay:
            add("harness", Kind.WIRE, "channel_opened", connection=number, kind="tls")
        for ioctype in (SOCKET, TLS) if trace else ():
            which = "multifd" if number else "migration"
            add(SRC, Kind.TRACE, f"{which}_set_outgoing_channel", ioctype=ioctype)
            add(DST, Kind.TRACE, "migration_set_incoming_channel", ioctype=ioctype)
    return added(run, *more)


def handshake_refused(scenario: Scenario) -> History:
    """The source fails; the destination says why, and waits for another one."""
    life = Life(scenario, ("setup",))
    life.status(DST, "setup")
    life.status(SRC, "failed")
    life.add(DST, Kind.PROCESS, "stderr", line="qemu: TLS handshake failed: illegal parameter")
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "TLS handshake failed"})
    life.qmp(DST, "query-migrate", {"status": "setup"})
    life.end("inmigrate")
    return life.history()
