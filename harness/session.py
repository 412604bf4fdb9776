"""A **session** runs one scenario: the one place that knows all parts.

Scenario in, history out.  What QEMU does wrong is recorded and left to the verdict; what
keeps the harness from running it at all is raised (``harness.errors``).
"""

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

import harness
from harness.devices.emulated import EmulatedDevices, expect_from, slot_of
from harness.errors import LaunchError, LostVM, PrerequisiteMissing, QmpError, QmpTimeout, VMError
from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.rundir import (
    DESTINATION_TRACE,
    SOURCE_TRACE,
    History,
    Manifest,
    RunDir,
)
from harness.scenario import MIB, Scenario, Transport
from harness.trace.catalogue import Catalogue
from harness.trace.reader import TraceReader
from harness.vm import builds, command_line, guest, migration
from harness.vm.activity import Activity
from harness.vm.vm import Vm

_SETTLE_S = 5.0  # for the other side to end once one has failed
_SPARE_BYTES = 4 << 30  # QEMU beside its RAM and the state
_FIRMWARE = "halt.bin"
_STREAM = "migration.stream"

Progress = Callable[[str], None]


def _silent(_step: str) -> None:
    """Progress that nobody wants to see."""


@dataclass
class Peer:
    """One side: its QEMU, its devices, its build."""

    side: Side
    binary: Path
    catalogue: Catalogue | None
    devices: EmulatedDevices
    vm: Vm
    log: Path
    facts: BuildFacts | None = None
    is_up: bool = False

    @property
    def events(self) -> list[Record]:
        """QMP events so far."""
        return self.vm.monitor.events


@dataclass(repr=False)  # asyncio.run() asks for it, and it would hold every record
class Session:
    """One run of ``scenario``, written into ``rundir``: all at once with ``run``, or phase by
    phase inside ``async with``: ``boot``, ``migrate``, ``stop``.

    :ivar trace_events: path of trace-events-all for the builds of both sides; empty: beside
        the binary
    """

    scenario: Scenario
    rundir: RunDir
    trace_events: str = ""
    progress: Progress = _silent
    records: list[Record] = field(default_factory=list)
    source: Peer = field(init=False)
    destination: Peer = field(init=False)

    def __post_init__(self) -> None:
        self._activity = Activity()
        self._started_ns = time.time_ns()
        self._channel_name = f"vfio-multifd-{secrets.token_hex(8)}"
        self._comparison: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self.rundir.write_scenario(self.scenario)
        self.source = self._peer(Side.SOURCE, self.scenario.qemu)
        try:
            self.destination = self._peer(
                Side.DESTINATION, self.scenario.qemu_dst or self.scenario.qemu
            )
        except BaseException:
            self._release(self.source)
            raise
        expect_from(self.source.devices, self.destination.devices)
        return self

    async def __aexit__(self, *_error: object) -> None:
        try:
            await self._compared()
        finally:
            self._release(*self._peers)
        (self.rundir.path / _STREAM).unlink(missing_ok=True)

    @staticmethod
    def _release(*peers: Peer) -> None:
        for peer in peers:
            peer.vm.abandon()
            peer.devices.close()

    async def run(self) -> History:
        """All phases; whatever happens, nothing is left running.

        :raise HarnessError: the run could not be made, so there is nothing to judge
        """
        async with self:
            if await self.boot():
                await self.migrate()
            return await self.stop()

    async def boot(self) -> bool:
        """Start and configure both QEMUs; whether both are up.

        A QEMU that refuses to start is left to the verdict, unless its build is to blame.

        :raise HarnessError: one could not be started at all
        """
        self.progress("boot")
        (self.rundir.path / _FIRMWARE).write_bytes(command_line.firmware())
        try:
            async with asyncio.TaskGroup() as group:
                for peer in self._peers:
                    group.create_task(self._launch(peer))
                group.create_task(asyncio.to_thread(self.source.devices.prepare))
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        return self.source.is_up and self.destination.is_up

    async def migrate(self) -> None:
        """Migrate, wait for the end of both sides, and ask them about it; both stay up."""
        await self.transfer()
        await self._observe_end()

    async def transfer(self) -> None:
        """Migrate and wait for the end of both sides."""
        self.progress("migrate")
        try:
            if self.scenario.transport is Transport.FILE:
                await self._through_file()
            else:
                address = await self._listen()
                await self.source.vm.monitor.execute("migrate", migration.channels(address))
                self.progress("transfer")
                await self._until_ended(*self._peers)
        except QmpError:
            pass  # refused before anything was sent: it is in the records
        except (QmpTimeout, LostVM) as error:
            await self._record_deadline(self._peers, str(error))
        # What the devices hold is final: compare it while both QEMUs are asked and ended.
        loop = asyncio.get_running_loop()
        self._comparison = loop.run_in_executor(None, self._compare)

    async def stop(self) -> History:
        """End both QEMUs, read their traces, write the run directory.

        :raise HarnessError: the supervisor failed, or a build writes no trace
        """
        self.progress("compare")
        for peer in self._peers:
            peer.vm.record_memory()
        async with asyncio.TaskGroup() as group:
            for peer in self._peers:
                group.create_task(peer.vm.shutdown())
        await self._compared()
        for peer in self._peers:
            peer.devices.close()
            failure = peer.devices.supervisor.failure
            if failure is not None:
                raise VMError(f"{peer.side}: the supervisor failed: {failure!r}") from failure
            self._read_trace(peer)
        return self._write()

    async def _compared(self) -> None:
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            await comparison

    @property
    def _peers(self) -> tuple[Peer, Peer]:
        return self.source, self.destination

    # -- before ----------------------------------------------------------------------

    def _peer(self, side: Side, given: str) -> Peer:
        binary = builds.find(given)
        catalogue = None
        if self.scenario.trace:
            path = builds.trace_events_path(binary, self.trace_events)
            catalogue = _catalogue(path, self.scenario.trace)
        return Peer(
            side,
            binary,
            catalogue,
            EmulatedDevices(side, self.scenario.devices, self.records.append),
            Vm(side, self.rundir.path, self.records.append, self._activity),
            self.rundir.path / (SOURCE_TRACE if side is Side.SOURCE else DESTINATION_TRACE),
        )

    async def _launch(self, peer: Peer) -> None:
        peer.log.mkdir()
        argv = command_line.build(
            str(peer.binary),
            machine=self.scenario.machine,
            ram_mib=self.scenario.ram_mib,
            monitor_fd=peer.vm.monitor_fd,
            firmware_path=self.rundir.path / _FIRMWARE,
            devices=peer.devices.options(),
            trace=self.scenario.trace,
            trace_folder=peer.log,
            is_incoming=peer.side is Side.DESTINATION,
        )
        limit = self.scenario.memory_limit_mib * MIB or (
            _SPARE_BYTES + self.scenario.ram_mib * MIB + 2 * self.scenario.state_size
        )
        try:
            await peer.vm.launch(argv, peer.devices.supervisor.launch, (), limit)
        except LaunchError:
            if peer.vm.process is None or peer.vm.process.pid == 0:
                raise  # nothing was executed: no QEMU said anything
            # A QEMU that refuses to start is what some scenarios are about: find out
            # whether the build is to blame, else leave it to the verdict.
            peer.facts = (await builds.probe(peer.binary)).facts
            self._require_properties(peer)
            return
        builds.require_version(peer.binary, peer.vm.monitor.version)
        # One after the other these would be a dozen round trips.
        try:
            peer.facts, *_ = await asyncio.gather(
                builds.facts(peer.vm.monitor, peer.binary),
                migration.configure(peer.vm.monitor, self.scenario),
                *([self._set_up_guest()] if peer.side is Side.SOURCE else []),
            )
        except (QmpTimeout, LostVM) as error:
            # It came up and then hung or died: that is QEMU's doing, and judged.
            await self._record_deadline((peer,), str(error))
            return
        peer.is_up = True

    async def _set_up_guest(self) -> None:
        """Give the source's devices contents and a place, as firmware and a driver would."""
        for device in self.source.devices.devices:
            device.function.fill_contents()
        monitor = self.source.vm.monitor
        await asyncio.gather(
            *(
                guest.set_up(
                    monitor,
                    slot_of(index),
                    guest.bar_address(index, spec.bar_size),
                    interrupt_line=0x10 + index if self.scenario.interrupt_line else None,
                )
                for index, spec in enumerate(self.scenario.devices)
            )
        )
        await self._record_guest(self.source)

    def _require_properties(self, peer: Peer) -> None:
        known = peer.facts.vfio_pci_properties if peer.facts else ()
        wanted = {name for spec in self.scenario.devices for name in spec.properties}
        if any(spec.multifd_transfer is not None for spec in self.scenario.devices):
            wanted.add("x-migration-multifd-transfer")
        missing = sorted(wanted - set(known)) if known else []
        if missing:
            raise PrerequisiteMissing(
                f"{peer.binary}: this build's vfio-pci has no property {', '.join(missing)}"
            )

    # -- migration -------------------------------------------------------------------

    async def _listen(self) -> dict[str, Any]:
        """Let the destination listen; the address to migrate to."""
        address = migration.address(self.scenario, self._channel_name)
        # Without exit-on-error=false a refusing destination would take its monitor with it.
        arguments = {**migration.channels(address), "exit-on-error": False}
        await self.destination.vm.monitor.execute("migrate-incoming", arguments)
        if self.scenario.transport is Transport.UNIX:
            return address
        listening = await self.destination.vm.monitor.execute("query-migrate")
        where = listening["socket-address"][0]
        return {"transport": "socket", **where}

    async def _through_file(self) -> None:
        address = {
            "transport": "file",
            "filename": str(self.rundir.path / _STREAM),
            "offset": 0,
        }
        await self.source.vm.monitor.execute("migrate", migration.channels(address))
        if await self._until_ended(self.source) != "completed":
            return
        await self.destination.vm.monitor.execute(
            "migrate-incoming", {**migration.channels(address), "exit-on-error": False}
        )
        await self._until_ended(self.destination)

    async def _until_ended(self, *peers: Peer) -> str | None:
        """Wait until every side has ended, or one has failed and the other had its time.

        The last side's status; None: its process is gone, or the deadline passed.
        """

        def ends() -> list[str | None]:
            return [
                "gone"
                if not peer.vm.is_running
                else migration.source_end(peer.events)
                if peer.side is Side.SOURCE
                else migration.destination_end(peer.events)
                for peer in peers
            ]

        def all_ended() -> list[str | None] | None:
            found = ends()
            return found if None not in found else None

        def one_failed_or_all_ended() -> list[str | None] | None:
            found = ends()
            failed = any(end not in (None, "completed") for end in found)
            return found if failed or None not in found else None

        try:
            found = await self._activity.until(one_failed_or_all_ended, self.scenario.deadline_s)
            if None in found:
                found = await self._activity.until(all_ended, _SETTLE_S)
        except TimeoutError:
            waiting = [str(p.side) for p, end in zip(peers, ends(), strict=True) if end is None]
            await self._record_deadline(peers, f"the end of {' and '.join(waiting)}")
            return None
        return found[-1]

    async def _record_deadline(self, peers: tuple[Peer, ...], waiting_for: str) -> None:
        args = {"waiting_for": waiting_for, "deadline_s": self.scenario.deadline_s}
        self._note("deadline", args)
        async with asyncio.TaskGroup() as group:
            for peer in peers:
                group.create_task(peer.vm.record_hang(waiting_for))

    # -- after -----------------------------------------------------------------------

    async def _observe_end(self) -> None:
        async with asyncio.TaskGroup() as group:
            for peer in self._peers:
                peer.devices.observe_config()
                group.create_task(self._query(peer))
        if migration.destination_end(self.destination.events) == "completed":
            with contextlib.suppress(VMError):
                await self._record_guest(self.destination)

    def _compare(self) -> None:
        # The destination first: where it got the same bytes, their digest is the source's.
        for peer in reversed(self._peers):
            peer.devices.report()

    async def _query(self, peer: Peer) -> None:
        if not peer.vm.is_running or peer.vm.is_stuck:
            return
        with contextlib.suppress(VMError):  # recorded as execute without return
            await asyncio.gather(
                peer.vm.monitor.execute("query-migrate"), peer.vm.monitor.execute("query-status")
            )

    async def _record_guest(self, peer: Peer) -> None:
        """Ask all devices at once: each answer alone is a round trip."""
        monitor, devices = peer.vm.monitor, self.scenario.devices
        answers = await asyncio.gather(
            *(guest.registers(monitor, slot_of(index)) for index in range(len(devices))),
            *(
                guest.words(monitor, guest.bar_address(index, spec.bar_size))
                for index, spec in enumerate(devices)
            ),
        )
        for spec, registers, words in zip(
            devices, answers[: len(devices)], answers[len(devices) :], strict=True
        ):
            self._note("guest_config", {"registers": registers}, peer.side, spec.id)
            self._note("guest_bar", {"words": words}, peer.side, spec.id)

    def _read_trace(self, peer: Peer) -> None:
        if peer.catalogue is None:
            return
        before = len(self.records)
        for path in sorted(peer.log.glob("*.log")):
            names = peer.devices.trace_names()
            reader = TraceReader(peer.catalogue, peer.side, names, tid=int(path.stem))
            with path.open("rb") as log:
                while data := log.read(MIB):
                    self.records += reader.feed(data)
            self.records += reader.close()
        if len(self.records) == before and peer.is_up:
            raise PrerequisiteMissing(
                f"{peer.binary}: wrote no trace: it needs the log trace backend "
                "(configure --enable-trace-backends=log)"
            )

    def _write(self) -> History:
        self.rundir.write_history(self.records)
        unknown = BuildFacts(path="", version=(0, 0, 0), version_text="")
        manifest = Manifest(
            harness=harness.__version__,
            scenario=self.scenario.name,
            started_ns=self._started_ns,
            ended_ns=time.time_ns(),
            source=self.source.facts or unknown,
            destination=self.destination.facts or unknown,
            complete=True,
        )
        self.rundir.write_manifest(manifest)
        ordered = sorted(self.records, key=lambda record: record.t_ns)
        manifest = msgspec.structs.replace(manifest, records=len(ordered))
        return History(self.scenario, manifest, ordered)

    def _note(
        self, name: str, args: dict[str, Any], side: Side = Side.HARNESS, device: str = ""
    ) -> None:
        self.records.append(Record(time.time_ns(), side, Kind.SESSION, name, args, device))


@functools.cache
def _catalogue(path: Path, patterns: tuple[str, ...]) -> Catalogue:
    """The build's trace events; both sides mostly share them."""
    try:
        return Catalogue.parse(path.read_text(errors="backslashreplace"), str(path), patterns)
    except OSError as error:
        raise PrerequisiteMissing(f"{path}: cannot be read: {error.strerror}") from error


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of a task group's errors: each is one line for the user."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
