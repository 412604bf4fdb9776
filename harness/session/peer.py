"""One side of the migration: its QEMU, its devices, its build, its trace."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.devices.attachments import Attachments
from harness.devices.vfio_pci import address_of
from harness.errors import (
    CannotRunHere,
    DeviceLost,
    LaunchError,
    LostVM,
    PrerequisiteMissing,
    QmpError,
    QmpTimeout,
    VMError,
    of_a_part,
)
from harness.history import Event, Record, Side, private
from harness.history.builds import BuildFacts
from harness.history.process import DataFds, HandedOver, Launched, Resources
from harness.history.rundir import (
    DESTINATION_CONSOLE,
    DESTINATION_TRACE,
    SOURCE_CONSOLE,
    SOURCE_TRACE,
)
from harness.scenario import MIB, Scenario
from harness.session.log import Log, SideLog
from harness.trace.catalogue import Catalogue
from harness.trace.reader import TraceReader
from harness.vm import builds, command_line, guest_image, lacking, migration
from harness.vm.activity import Activity
from harness.vm.console import Console
from harness.vm.credentials import Setup
from harness.vm.qtest import QTest
from harness.vm.time_limit import TimeLimit
from harness.vm.vm import Vm

_LEFT_S, _AGAIN_S = 5.0, 0.02
"""How long threads and sockets of a migration are waited for, and between two looks."""
_IDLE = ("pool", "worker")
"""Threads of GLib's and QEMU's thread pools, which wait for more work."""
_SPARE_BYTES = 4 << 30  # for QEMU besides its RAM and the state


@dataclass(repr=False)  # a task's name would hold all of it
class Peer:
    """One side.

    :ivar is_up: it was started and configured
    :ivar is_configured: it has accepted the scenario's settings
    """

    log: SideLog
    binary: Path
    catalogue: Catalogue | None
    devices: Attachments
    vm: Vm
    trace: Path
    console: Console | None = None
    """The guest's, where one runs."""
    qtest: QTest | None = None
    """Writes to the guest's memory, of a source whose devices have interrupts."""
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
        own = SideLog(side, log)
        taken = other.devices.addresses if other is not None else ()
        console = None
        if scenario.guest is not None:
            path = folder / (SOURCE_CONSOLE if side is Side.SOURCE else DESTINATION_CONSOLE)
            places = {address_of(n): device.id for n, device in enumerate(scenario.devices)}
            console = Console(side, path, places, own, activity)
        has_interrupts = any(device.interrupts.is_used for device in scenario.emulated)
        is_driver = has_interrupts and scenario.guest is None
        qtest = QTest() if is_driver and side is Side.SOURCE else None
        return cls(
            own,
            binary,
            catalogue,
            Attachments(
                side,
                scenario.devices,
                own,
                ram_mib=scenario.ram_mib,
                taken=taken,
                watches_sends=side is Side.SOURCE and scenario.has_zero_copy,
            ),
            Vm(side, folder, own, activity, other.vm.home if other is not None else folder),
            folder / (SOURCE_TRACE if side is Side.SOURCE else DESTINATION_TRACE),
            console,
            qtest,
        )

    @property
    def side(self) -> Side:
        """Which side it is now."""
        return self.log.side

    @property
    def known_facts(self) -> BuildFacts:
        """Of its build; version 0.0.0 if it never came up."""
        return self.facts or BuildFacts(path="", version=(0, 0, 0), version_text="")

    @property
    def events(self) -> list[Event]:
        """QMP events of this migration so far."""
        return self.vm.monitor.events[self._events_before :]

    @property
    def pid(self) -> int:
        """Of its QEMU; 0 before the launch."""
        return self.vm.process.pid if self.vm.process else 0

    @property
    def trace_bytes(self) -> int:
        """How much its QEMU has traced so far."""
        return sum(path.stat().st_size for path in self.trace.glob("*.log"))

    @property
    def end(self) -> str | None:
        """How its side of the migration has ended; None if it goes on."""
        if not self.vm.is_running:
            return "gone"
        is_source = self.side is Side.SOURCE
        return (migration.source_end if is_source else migration.destination_end)(self.events)

    async def launch(self, scenario: Scenario, firmware: Path) -> bool:
        """Start its QEMU; False if it refuses to start, which is left to the verdict.

        :param firmware: the file with that of the scenario
        :raise CannotRunHere: it refuses because its build lacks what the scenario asks for
        :raise LaunchError: nothing was executed, so no QEMU said anything
        :raise PrerequisiteMissing: the guest's image is not built, or QEMU has no firmware for it
        """
        private.make_folder(self.trace)
        boot, fds = self._boot(scenario, firmware)
        if self.qtest is not None:
            boot, fds = [*boot, *self.qtest.options()], [*fds, self.qtest.fd]
        argv = command_line.build(
            str(self.binary),
            machine=scenario.machine,
            ram_mib=scenario.ram_mib,
            monitor_fd=self.vm.monitor_fd,
            boot=boot,
            more=scenario.qemu_args,
            devices=self.devices.options(),
            trace=scenario.trace_patterns,
            trace_folder=self.trace,
            is_incoming=self.side is Side.DESTINATION,
            has_monitor_object=builds.has_monitor_object(self.binary),
        )
        limit = scenario.memory_limit_mib * MIB or (
            _SPARE_BYTES + scenario.ram_mib * MIB + 2 * scenario.state_size
        )
        try:
            await self.vm.launch(argv, self.devices.launch, fds, limit)
        except LaunchError as error:
            if self.vm.process is None or self.vm.process.pid == 0:
                raise
            # Some scenarios are about a QEMU that refuses to start: find out whether the build
            # is to blame.
            probe = await builds.probe(self.binary)
            lacking.at_launch(probe.facts, probe.types, probe.machines, argv, scenario, str(error))
            lacking.of_arguments(scenario, self.vm.process.returncode, self.vm.process.stderr())
            self.facts = probe.facts
            return False
        builds.require_version(self.binary, self.vm.monitor.version)
        if self.console is not None:
            self.console.listen()
        if self.qtest is not None:
            self.qtest.started()
        return True

    def _boot(self, scenario: Scenario, firmware: Path) -> tuple[Sequence[str], Sequence[int]]:
        """QEMU options that say what it boots, and descriptors that these name: the console of
        the guest, where one runs.
        """
        if scenario.guest is None or self.console is None:
            return ("-bios", str(firmware)), ()
        if scenario.has_linux:
            lacking.of_firmware(self.binary)
            boots = guest_image.find().options(scenario.guest.memory_kib)
        else:
            boots = ["-bios", str(firmware)]
        return [*boots, *self.console.options()], [self.console.fd]

    async def get_ready(self, scenario: Scenario, tls: Setup, *more: Awaitable[None]) -> str:
        """Once it was launched: ask for its build and set its migration up, and ``more``.  What
        did not come if it hangs or dies, which is judged; else "".

        :raise CannotRunHere: its build lacks what the settings ask for
        """
        # One after the other these would be a dozen round trips.
        try:
            self.facts, *_ = await asyncio.gather(
                builds.facts(self.vm.monitor, self.binary), self.configure(scenario, tls), *more
            )
        except (QmpTimeout, LostVM) as error:
            return str(error)
        self.is_up = self.is_configured
        return ""

    async def configure(self, scenario: Scenario, tls: Setup) -> None:
        """Set its migration up.  If QEMU refuses the settings, that is left to the verdict.

        :raise CannotRunHere: its build lacks what they ask for
        """
        before = self._defaults
        try:
            if scenario.then and before is None:
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

    async def ask_how_it_went(self) -> None:
        """Ask for the migration's end and the guest's state, if QEMU still answers; the answers
        become records.
        """
        if not self.vm.is_running or self.vm.is_stuck:
            return
        monitor = self.vm.monitor
        try:
            await asyncio.gather(monitor.execute("query-migrate"), monitor.execute("query-status"))
        except QmpTimeout:
            await self.vm.record_hang("query-status")
        except VMError:
            pass  # recorded as execute without return

    async def record_what_is_left(self) -> None:
        """Record what its QEMU holds after the migration.  A thread that was joined is seen for a
        moment longer: it is waited for, as long as there are more than before.
        """
        process, loop = self.vm.process, asyncio.get_running_loop()
        booted = [r.args for r in self.log.records if isinstance(r.args, Resources)]
        until = loop.time() + _LEFT_S
        while process is not None and booted and not self.vm.is_stuck and loop.time() < until:
            held = process.resources("ended")
            if held is None or _count(held) <= _count(booted[-1]):
                break
            await asyncio.sleep(_AGAIN_S)
        self.vm.record_resources("ended")

    async def record_data_fds(self) -> None:
        """Record how many data_fds its QEMU has open after the migration.  It closes them a moment
        after it reports the end, so it is given time, in which it must not wait for a processor.
        """
        process = self.vm.process
        if process is None or self.vm.is_stuck:
            return
        with contextlib.suppress(TimeoutError):
            async with TimeLimit(_LEFT_S, process.pid):
                while process.data_fds():  # noqa: ASYNC110 - nothing notifies of it
                    await asyncio.sleep(_AGAIN_S)
        count = process.data_fds()
        if count is not None and self.vm.is_running:
            self.log(Record.of(time.time_ns(), self.side, DataFds(count)))

    def hand_over(self) -> None:
        """It runs on, into another migration: here nothing more of it will be seen."""
        self.log(Record.of(time.time_ns(), self.side, HandedOver()))

    def take_over(self, log: Log) -> None:
        """It is the source of a new migration, which ``log`` records."""
        launched = [record for record in self.log.records if isinstance(record.args, Launched)]
        self._was_paused, self.vm.monitor.is_paused = self.is_paused, None
        self.log.move(Side.SOURCE, log)
        self._events_before = len(self.vm.monitor.events)
        for record in launched:
            self.log(msgspec.structs.replace(record, t_ns=time.time_ns()))

    def read_trace(self, since_ns: int) -> list[Record]:
        """The records of its trace since then.

        :raise PrerequisiteMissing: it came up, and has written no trace
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

        :raise VMError: the thread that answers its ioctls had failed
        :raise HarnessError: a device is left behind
        """
        self.devices.close()
        self._close_sockets()
        failure = self.devices.failure
        if isinstance(failure, DeviceLost):
            raise DeviceLost(f"{self.side}: {failure}") from failure
        if failure is not None:
            raise of_a_part(f"{self.side}: the supervisor", failure) from failure

    async def give_up(self) -> None:
        """End it at once, also its monitor; called after its end it does nothing."""
        self.release()
        await self.vm.monitor.close()

    def release(self) -> None:
        """Give up everything at once; called after all of it was ended, it does nothing."""
        self.vm.abandon()
        self.devices.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        if self.console is not None:
            self.console.close()
        if self.qtest is not None:
            self.qtest.close()


def _count(held: Resources) -> tuple[int, int]:
    """Its sockets, and its threads without those that wait for work."""
    return held.descriptors.get("socket", 0), sum(
        number for name, number in held.threads.items() if not name.startswith(_IDLE)
    )


@functools.cache
def _catalogue(path: Path, patterns: tuple[str, ...]) -> Catalogue:
    """The build's trace events; both sides mostly share them."""
    try:
        return Catalogue.parse(path.read_text(errors="backslashreplace"), str(path), patterns)
    except OSError as error:
        raise PrerequisiteMissing(f"{path}: cannot be read: {error.strerror}") from error
