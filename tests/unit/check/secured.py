"""SYNTHETIC histories of migrations with TLS."""

from harness.history.process import Stderr
from harness.history.records import Kind, Record, Side
from harness.history.rundir import History
from harness.history.wire import ChannelOpened
from harness.scenario import Scenario
from tests.twins.damage import pick
from tests.unit.check.lives import Life, added
from tests.unit.check.story import DST, SRC, US

SOCKET, TLS = "qio-channel-socket", "qio-channel-tls"


def secured(run: History, *, relay: bool = True, trace: bool = True, channels: int = 0) -> History:
    """``run``, which completes, with what relay and traces tell of its channels.

    :param channels: multifd channels that are told of; 0: all
    """
    (begun,) = pick(run.records, "MIGRATION", status="setup", side=SRC)
    more: list[Record] = []

    def channel(side, name, ioctype):
        more.append(Record(begun.t_ns + US, side, Kind.TRACE, name, {"ioctype": ioctype}))

    for number in range(1 + (channels or run.scenario.channels)):
        if relay:
            opened = ChannelOpened(connection=number, kind="tls")
            more.append(Record.of(begun.t_ns + US, Side.HARNESS, opened))
        for ioctype in (SOCKET, TLS) if trace else ():
            which = "multifd" if number else "migration"
            channel(SRC, f"{which}_set_outgoing_channel", ioctype)
            channel(DST, "migration_set_incoming_channel", ioctype)
    return added(run, *more)


def handshake_refused(scenario: Scenario) -> History:
    """The source fails; the destination says why, and waits for another one."""
    life = Life(scenario, ("setup",))
    life.status(DST, "setup")
    life.status(SRC, "failed")
    life.put(DST, Stderr(line="qemu: TLS handshake failed: illegal parameter"))
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "TLS handshake failed"})
    life.qmp(DST, "query-migrate", {"status": "setup"})
    life.end("inmigrate")
    return life.history()
