"""What SYNTHETIC histories are written with: a scenario, a manifest, and a ``Story``.

Names, arguments and order of its records are those of real runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.history.builds import BuildFacts
from harness.history.device import Arc
from harness.history.process import Exited, Launched
from harness.history.records import Body, Kind, Record, Side
from harness.history.rundir import History, Manifest
from harness.history.session import GuestConfig
from harness.scenario import MIB, EmulatedDevice, Scenario

START = 1_700_000_000 * 10**9
US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
CONFIG_BLOB = 292  # a conventional PCI function: 256 bytes, registers of QEMU's, two marks
FACTS = BuildFacts(
    path="/usr/bin/qemu-system-x86_64",
    version=(10, 0, 2),
    version_text="10.0.2 Debian",
    machine="pc-q35-10.0",
    vfio_pci_properties=("enable-migration", "x-migration-multifd-transfer"),
)
SRC, DST = Side.SOURCE, Side.DESTINATION


def device(name: str = "vfio0", **fields) -> EmulatedDevice:
    return EmulatedDevice(**{"id": name, "size": 4 * MIB, **fields})


def scenario(*devices: EmulatedDevice, **fields) -> Scenario:
    return Scenario(**{"name": "synthetic", "devices": devices or (device(),), **fields})


def history(scenario: Scenario, records: list[Record], facts: BuildFacts = FACTS) -> History:
    ordered = sorted(typed(records), key=lambda record: record.t_ns)
    manifest = Manifest(
        harness="0.1.0",
        scenario=scenario.name,
        started_ns=START,
        ended_ns=ordered[-1].t_ns + MS if ordered else START,
        source=facts,
        destination=facts,
        complete=True,
        records=len(ordered),
    )
    return History(scenario, manifest, ordered)


def typed(records: Sequence[Record]) -> Sequence[Record]:
    """``records``, each of which must be as its kind and name promise."""
    for record in records:
        assert record.kind in (Kind.TRACE, Kind.QMP) or isinstance(record.args, Body), record
    return records


@dataclass
class Story:
    """Writes records; ``at`` is the time, which each record moves on a little."""

    at: int = START
    records: list[Record] = field(default_factory=list)

    def add(self, side, kind, name, device="", /, *, tid=0, channel=-1, t=None, **args) -> Record:
        if t is None:
            self.at += 10 * US
        record = Record(self.at if t is None else t, side, kind, name, args, device, tid, channel)
        self.records.append(record)
        return record

    def put(self, side, args: Body, device="", *, channel=-1, t=None) -> Record:
        """A record of a typed kind."""
        if t is None:
            self.at += 10 * US
        record = Record.of(self.at if t is None else t, Side(side), args, device, channel)
        self.records.append(record)
        return record

    def trace(self, side, name, device="", /, **args) -> Record:
        if device:
            args = {"name": device, **args}
        tid = args.pop("tid", 100)
        channel = args.pop("channel", -1)
        t = args.pop("t", None)
        return self.add(side, Kind.TRACE, name, device, tid=tid, channel=channel, t=t, **args)

    def qmp(self, side, command, value=None, arguments=None, error=None) -> None:
        self.add(side, Kind.QMP, "execute", command=command, arguments=arguments or {})
        if error is None:
            self.add(side, Kind.QMP, "return", command=command, value=value or {})
        else:
            words = {"class": "GenericError", "desc": error}
            self.add(side, Kind.QMP, "error", command=command, **words)

    def status(self, side, *statuses: str) -> None:
        for status in statuses:
            self.add(side, Kind.QMP, "MIGRATION", status=status)

    def arc(self, side, device, state: str) -> None:
        """The device goes to ``state``, and QEMU tells so."""
        self.put(side, Arc(state=state, path=[state], errno=0), device)
        told = state.lower().replace("_", "-")
        args = {"device-id": device, "qom-path": f"/machine/peripheral/{device}"}
        self.add(side, Kind.QMP, "VFIO_MIGRATION", device, **args, **{"device-state": told})

    def boot(self, scenario: Scenario) -> None:
        for side, pid in ((SRC, 1000), (DST, 2000)):
            self.put(side, Launched(argv=_argv(scenario), pid=pid))
        for spec in scenario.devices:
            # The VM starts before there is a monitor to tell that to.
            is_p2p = isinstance(spec, EmulatedDevice) and spec.p2p
            for state in ("RUNNING_P2P", "RUNNING") if is_p2p else ():
                self.put(SRC, Arc(state=state, path=[state], errno=0), spec.id)
        for side in (SRC, DST):
            self.qmp(side, "migrate-set-capabilities")
            self.qmp(side, "migrate-set-parameters")
            self.trace(side, "vfio_pci_realize_start")
            for spec in scenario.devices:
                self.trace(side, "vfio_migration_realize", spec.id)
        for spec in scenario.devices:
            self.guest(SRC, spec.id)

    def guest(self, side, device) -> None:
        registers = {"0x04": 0x100006, "0x10": 0xC0000000, "0x3c": 0x10B}
        self.put(side, GuestConfig(registers=registers), device)

    def end(self, destination: str = "running") -> None:
        source = "postmigrate" if destination == "running" else "running"
        for side, state in ((SRC, source), (DST, destination)):
            status = {"status": state, "running": state == "running"}
            self.qmp(side, "query-status", status)
        self.quit(SRC)
        self.quit(DST)

    def quit(self, side, status: int = 0) -> None:
        self.qmp(side, "quit")
        self.put(side, Exited(status=status, signal=0, asked=True))


def _argv(scenario: Scenario) -> list[str]:
    """The part of a command line that says where the devices are."""
    argv = ["qemu-system-x86_64"]
    for slot, spec in enumerate(scenario.devices, start=2):
        argv += ["-device", f"vfio-pci,id={spec.id},addr={slot:#x}"]
    return argv
