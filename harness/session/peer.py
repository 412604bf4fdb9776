"""One side of the migration: its QEMU, its devices, its build, its trace."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.devices.attachments import Attachments
from harness.devices.vfio_pci import address_of
from harness.errors import CannotRunHere, PrerequisiteMissing, QmpError, of_a_part
from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.rundir import (
    DESTINATION_CONSOLE,
    DESTINATION_TRACE,
    SOURCE_CONSOLE,
    SOURCE_TRACE,
)
from harness.scenario import MIB, Scenario
from harness.session.log import Log, Voice
from harness.trace.catalogue import Catalogue
from harness.trace.reader import TraceReader
from harness.vm import builds, lacking, migration
from harness.vm.activity import Activity
from harness.vm.console import Console
from harness.vm.credentials import Setup
from harness.vm.vm import Vm


@dataclass(repr=False)  # a task's name would hold all of it
class Peer:
    """One side.

    :ivar is_up: it was started and configured
    :ivar is_configured: it has accepted the scenario's settings
    """

    voice: Voice
    binary: Path
    catalogue: Catalogue | None
    devices: Attachments
    vm: Vm
    trace: Path
    console: Console | None = None
    """The guest's, where one runs."""
    facts: BuildFacts | None = None
    is_up: bool = False
    is_configured: bool = False
    _events_before: int = 0
    _defaults: dict[str, Any] | None = None
    """Its migration parameters at its start, where another migration follows."""
    _was_paused: bool = False

    @classmethod
    def make(
        cls, side: Side, scenario: Scenario, folder: Path, trace_events: str, log: Log,
        activity: Activity, other: "Peer | None" = None,
    ) -> "Peer":  # fmt: skip
        """Of the QEMU that ``scenario`` names for ``side``; it is not started yet.

        :param folder: the run directory, as an absolute path
        :param other: the QEMU that is there already
        :raise PrerequisiteMissing: there is no such QEMU, or its trace events are not known
        """
        given = scenario.qemu if side is Side.SOURCE else scenario.qemu_dst or scenario.qemu
        binary = builds.find(given)
        catalogue = None
        if scenario.trace:
            path = builds.trace_events_path(binary, trace_events)
            catalogue = _catalogue(path, scenario.trace_patterns)
        voice = Voice(side, log)
        taken = other.devices.addresses if other is not None else ()
        console = None
        if scenario.guest is not None:
            path = folder / (SOURCE_CONSOLE if side is Side.SOURCE else DESTINATION_CONSOLE)
            places = {address_of(n): device.id for n, device in enumerate(scenario.devices)}
            console = Console(side, path, places, voice, activity)
        return cls(
            voice,
            binary,
            catalogue,
            Attachments(side, scenario.devices, voice, ram_mib=scenario.ram_mib, taken=taken),
            Vm(side, folder, voice, activity, other.vm.home if other is not None else folder),
            folder / (SOURCE_TRACE if side is Side.SOURCE else DESTINATION_TRACE),
            console,
        )

    @property
    def side(self) -> Side:
        """Which side it is now."""
        return self.voice.side

    @property
    def known_facts(self) -> BuildFacts:
        """Of its build; of version 0.0.0 where it never came up."""
        return self.facts or BuildFacts(path="", version=(0, 0, 0), version_text="")

    @property
    def events(self) -> list[Record]:
        """QMP events of this migration so far."""
        return self.vm.monitor.events[self._events_before :]

    @property
    def end(self) -> str | None:
        """How its side of the migration has ended; None if it goes on."""
        if not self.vm.is_running:
            return "gone"
        is_source = self.side is Side.SOURCE
        return (migration.source_end if is_source else migration.destination_end)(self.events)

    async def configure(self, scenario: Scenario, tls: Setup) -> None:
        """Set its migration up.  If QEMU refuses the settings, that is left to the verdict.

        :raise CannotRunHere: its build lacks what they ask for
        """
        before = self._defaults
        try:
            if scenario.then is not None and before is None:
                self._defaults = await self.vm.monitor.execute("query-migrate-parameters")
            await migration.configure(self.vm.monitor, scenario, tls, before)
        except QmpError as error:
            await lacking.at_set_up(self.vm.monitor, self.binary, scenario)
            if migration.lacks(error):
                raise CannotRunHere(f"{self.binary}: this build cannot do it: {error}") from error
            self.is_configured = self.is_up = False
        else:
            self.is_configured = True

    @property
    def is_paused(self) -> bool:
        """Whether its guest is paused: of a source by a command, or since an earlier migration;
        of a destination that has completed, because nothing has resumed it.
        """
        if self.side is Side.DESTINATION:
            return not migration.is_resumed(self.events)
        commanded = self.vm.monitor.is_paused
        return self._was_paused if commanded is None else commanded

    def listen(self) -> None:
        """Take in what its guest says from now on, if it has one; QEMU was started."""
        if self.console is not None:
            self.console.listen()

    def hand_over(self) -> None:
        """It runs on, into another migration: here nothing more of it will be seen."""
        self.voice(Record(time.time_ns(), self.side, Kind.PROCESS, "handed_over"))

    def take_over(self, log: Log) -> None:
        """It is the source of a new migration, which ``log`` records."""
        launched = [
            record
            for record in self.voice.log.records
            if record.name == "launched" and record.side is self.side
        ]
        self._was_paused, self.vm.monitor.is_paused = self.is_paused, None
        self.voice.log, self.voice.side = log, Side.SOURCE
        self._events_before = len(self.vm.monitor.events)
        for record in launched:
            self.voice(msgspec.structs.replace(record, t_ns=time.time_ns()))

    def read_trace(self, since_ns: int) -> list[Record]:
        """What its trace has told since then.

        :raise PrerequisiteMissing: it came up, and has written nothing
        """
        found: list[Record] = []
        if self.catalogue is None:
            return found
        for path in sorted(self.trace.glob("*.log")):
            names = self.devices.trace_names()
            reader = TraceReader(self.catalogue, self.side, names, tid=int(path.stem))
            with path.open("rb") as log:
                while data := log.read(MIB):
                    found += reader.feed(data)
            found += reader.close()
        if not found and self.is_up:
            raise PrerequisiteMissing(
                f"{self.binary}: wrote no trace: it needs the log trace backend "
                "(configure --enable-trace-backends=log)"
            )
        return [record for record in found if record.t_ns >= since_ns]

    def close_devices(self) -> None:
        """After QEMU's end.

        :raise VMError: who answered its ioctls had failed
        :raise HarnessError: a device is left behind
        """
        self.devices.close()
        if self.console is not None:
            self.console.close()
        failure = self.devices.failure
        if failure is not None:
            raise of_a_part(f"{self.side}: the supervisor", failure) from failure

    def release(self) -> None:
        """Give up everything at once; called after all of it was ended, it does nothing."""
        self.vm.abandon()
        self.devices.close()
        if self.console is not None:
            self.console.close()


@functools.cache
def _catalogue(path: Path, patterns: tuple[str, ...]) -> Catalogue:
    """The build's trace events; both sides mostly share them."""
    try:
        return Catalogue.parse(path.read_text(errors="backslashreplace"), str(path), patterns)
    except OSError as error:
        raise PrerequisiteMissing(f"{path}: cannot be read: {error.strerror}") from error
