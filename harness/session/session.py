"""The phases of one run of one scenario."""

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

import harness
from harness import interrupt
from harness.devices.emulated import expect_from
from harness.errors import (
    LaunchError,
    LostVM,
    QmpError,
    QmpTimeout,
    UsageError,
    VMError,
    first_of,
)
from harness.history import Record, Side, private
from harness.history.builds import BuildFacts
from harness.history.rundir import CAPTURE, TLS, History, Manifest, RunDir
from harness.proxy.capture import CaptureWriter
from harness.scenario import MIB, Scenario, Transport
from harness.scenario.action_plan import Target
from harness.session import asking, capturing, convergence, guest_side, running_guest
from harness.session.actions import Actions
from harness.session.limit import Limit
from harness.session.link import Link
from harness.session.log import Log, Progress, silent
from harness.session.memory_watch import MemoryWatch
from harness.session.peer import Peer
from harness.supervisor.attached import memfd_bytes
from harness.vfio.state_bytes import Stopped
from harness.vm import builds, command_line, lacking, migration
from harness.vm.activity import Activity
from harness.vm.credentials import Credentials
from harness.vm.sockets import Sockets

_QUIET_S = 1.0  # for the other side, where it is right not to end once one has failed
_SPARE_BYTES = 4 << 30  # QEMU beside its RAM and the state
_FIRMWARE = "firmware.bin"
_STREAM = "migration.stream"


@dataclass(repr=False)  # asyncio.run() asks for it, and it would hold every record
class Session:
    """One run of ``scenario``, written into ``rundir``: all at once with ``run``, or phase by
    phase inside ``async with``: ``boot``, ``migrate``, ``stop``.

    :ivar trace_events: path of trace-events-all for the builds of both sides; empty: beside
        the binary
    :ivar has_capture: keep all that the source sends in the run directory, for a replay
    :ivar origin: the peer that an earlier session handed over; it is the source, and this
        session ends it
    """

    scenario: Scenario
    rundir: RunDir
    trace_events: str = ""
    progress: Progress = silent
    has_capture: bool = False
    origin: Peer | None = None
    log: Log = field(default_factory=Log)
    source: Peer = field(init=False)
    destination: Peer = field(init=False)
    next: "Session | None" = field(init=False, default=None)
    """The session that ``run`` has handed over to."""
    next_history: History | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._activity = self.origin.vm.activity if self.origin else Activity()
        self._started_ns = time.time_ns()
        home = self.origin.vm.home if self.origin else self.rundir.folder
        self._sockets = Sockets(self.scenario, home)
        self._comparison: asyncio.Future[None] | None = None
        self._has_ended = threading.Event()
        self._is_late = False
        self._link: Link | None = None
        self._handed_over: Peer | None = None
        self._writer: CaptureWriter | None = None
        self._tls = Credentials(self.scenario, self.rundir.folder / TLS)

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            if self.origin is not None:
                undo.callback(self.origin.release)
            self.rundir.write_scenario(self.scenario)
            if self.origin is not None:
                after = migration.last_status(self.origin.events)
                is_paused = self.origin.is_paused
                self.origin.take_over(self.log)
                self.log.note("continued", {"after": after, "is_paused": is_paused})
            self.source = self.origin or self._peer(Side.SOURCE)
            undo.callback(self.source.release)
            self.destination = self._peer(Side.DESTINATION)
            undo.callback(self.destination.release)
            if self.has_capture and (why := capturing.why_not(self.scenario)):
                self.has_capture = False
                self.log.note("not_captured", {"why": why})
            self._writer = CaptureWriter(self.rundir.path / CAPTURE) if self.has_capture else None
            undo.pop_all()
        expect_from(self.source.devices.emulated, self.destination.devices.emulated)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._has_ended.set()  # no work on states goes on
        async with contextlib.AsyncExitStack() as stack:  # each is done, whatever others raise
            for peer in self._own_peers:
                stack.push_async_callback(peer.vm.monitor.close)
            stack.callback((self.rundir.path / _STREAM).unlink, missing_ok=True)
            if self._writer is not None:
                stack.callback(self._writer.discard)
            if self._link is not None:
                stack.callback(self._link.abandon)
            stack.callback(self._tls.remove)
            stack.callback(self._sockets.remove)
            for peer in self._own_peers:
                stack.callback(peer.release)
            stack.push_async_callback(self._compared)  # it reads the devices' memory
            for peer in self._own_peers:
                stack.callback(peer.vm.abandon)

    @property
    def records(self) -> list[Record]:
        """All that was seen so far."""
        return self.log.records

    async def run(self) -> History:
        """All phases, and those of the migration that the scenario wants then; whatever
        happens, nothing is left running.

        :raise HarnessError: the run could not be made, so there is nothing to judge
        """
        async with self:
            if await self.boot():
                await self.migrate()
            then = self.scenario.then
            heir = self.survivor() if then else None
            if then is None or heir is None:
                if then is not None:
                    self.log.note("not_continued", {"with": then.name})
                return await self.stop()
            history = await self.hand_over(heir)
        try:
            rundir = RunDir.create(self.rundir.path.parent, then.name)
            with_builds = msgspec.structs.replace(
                then,
                qemu=then.qemu or self.scenario.qemu,
                qemu_dst=then.qemu_dst or then.qemu or self.scenario.qemu_dst,
            )
            self.next = Session(with_builds, rundir, self.trace_events, self.progress, origin=heir)
        except BaseException:
            heir.release()
            raise
        self.next_history = await self.next.run()
        return history

    async def boot(self) -> bool:
        """Start and configure both QEMUs; whether both are up.

        A QEMU that refuses to start is left to the verdict, unless its build is to blame.

        :raise HarnessError: one could not be started at all
        """
        self.progress("boot")
        lacking.of_memory(memfd_bytes(self.scenario), self.scenario)
        private.write(self.rundir.folder / _FIRMWARE, running_guest.firmware(self.scenario))
        self._tls.write()
        self._sockets.make()
        try:
            async with asyncio.TaskGroup() as group:
                for peer in self._peers:
                    group.create_task(self._launch(peer))
                group.create_task(asyncio.to_thread(self._prepare))
        except ExceptionGroup as errors:
            raise first_of(errors) from errors
        is_up = all(peer.is_up for peer in self._peers)
        if is_up and self.scenario.guest and self.origin is None:
            self.progress("guest")
            is_up = await running_guest.until_up(self.source, self.scenario, self.log)
        for peer in self._peers:
            peer.vm.record_memory("booted")
        return is_up

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
                if self.scenario.has_relay or self.has_capture:
                    tap = self._writer.append if self._writer else None
                    self._link = Link(self.scenario, address, self.log, tap, self._sockets.home)
                    address = self._link.address
                async with self._actions():
                    with MemoryWatch([peer.vm.sample_memory for peer in self._peers]):
                        await self._play(address)
        except QmpError:
            pass  # refused before anything was sent: it is in the records
        except (QmpTimeout, LostVM) as error:
            await self._record_deadline(self._peers, str(error), None)
        if self._link is not None:
            self._link.end()
        # What the devices hold is final: compare it while both QEMUs are asked and ended.
        loop = asyncio.get_running_loop()
        self._comparison = loop.run_in_executor(None, self._compare)

    async def _play(self, address: dict[str, Any]) -> None:
        """Let the source send to ``address``, and wait for the end of both sides."""
        with contextlib.suppress(LostVM):  # the other side has its end to come to all the same
            await self.source.vm.monitor.execute("migrate", migration.channels(address))
        self.progress("transfer")
        await self._until_ended(*self._peers)

    def survivor(self) -> Peer | None:
        """The QEMU that runs the guest now; None: there is none, or its migration goes on."""
        peer = self.source
        has_ended = migration.source_end(peer.events) is not None
        if migration.destination_end(self.destination.events) == "completed":
            peer, has_ended = self.destination, True
        is_well = peer.is_up and peer.vm.is_running and not peer.vm.is_stuck
        return peer if has_ended and is_well else None

    async def hand_over(self, peer: Peer) -> History:
        """End the other QEMU and finish, but leave that of ``peer`` to another session."""
        peer.hand_over()
        self._handed_over = peer
        try:
            return await self.stop()
        except BaseException:
            peer.release()
            raise

    async def stop(self) -> History:
        """End both QEMUs, read their traces, write the run directory.

        :raise HarnessError: the supervisor, the relay or a fault failed, or a build writes
            no trace
        """
        self.progress("compare")
        for peer in self._peers:
            peer.vm.record_memory("ended")
        async with asyncio.TaskGroup() as group:
            for peer in self._own_peers:
                group.create_task(peer.vm.shutdown())
        await self._compared()
        if self._link is not None:
            self._link.close()
        for peer in self._own_peers:
            peer.close_devices()
        with interrupt.at_once():
            for peer in self._peers:
                self.log.records += peer.read_trace(self._started_ns)
            if self._writer is not None:
                why_not = capturing.finish(self._writer, self.scenario, self._facts, self.records)
                if why_not:
                    self.log.note("not_captured", {"why": why_not})
            return self._write(*self._facts)

    async def _compared(self) -> None:
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            await comparison

    @property
    def _peers(self) -> tuple[Peer, ...]:
        return self.source, self.destination

    @property
    def _own_peers(self) -> list[Peer]:
        """Those that are this session's to end."""
        return [peer for peer in self._peers if peer is not self._handed_over]

    # -- before ----------------------------------------------------------------------

    def _prepare(self) -> None:
        """What takes a while and does not need the QEMUs; blocks."""
        try:
            self.source.devices.prepare(Limit(self._has_ended, self.scenario.deadline_s))
        except Stopped as stopped:
            raise UsageError(
                f"{self.scenario.name}: its states cannot be made ahead: {stopped}, its "
                "deadline_s: give it more, or smaller states"
            ) from stopped

    def _peer(self, side: Side) -> Peer:
        how = self.rundir.folder, self.trace_events, self.log, self._activity, self.origin
        return Peer.make(side, self.scenario, *how)

    async def _launch(self, peer: Peer) -> None:
        if peer is self.origin:
            await peer.configure(self.scenario, self._tls.instead())
            await guest_side.show(peer, self.scenario, self.log)
            return
        private.make_folder(peer.trace)
        boot, fds = running_guest.boot(peer, self.scenario, self.rundir.folder / _FIRMWARE)
        argv = command_line.build(
            str(peer.binary),
            machine=self.scenario.machine,
            ram_mib=self.scenario.ram_mib,
            monitor_fd=peer.vm.monitor_fd,
            boot=boot,
            devices=peer.devices.options(),
            trace=self.scenario.trace_patterns,
            trace_folder=peer.trace,
            is_incoming=peer.side is Side.DESTINATION,
        )
        limit = self.scenario.memory_limit_mib * MIB or (
            _SPARE_BYTES + self.scenario.ram_mib * MIB + 2 * self.scenario.state_size
        )
        try:
            await peer.vm.launch(argv, peer.devices.launch, fds, limit)
        except LaunchError as error:
            if peer.vm.process is None or peer.vm.process.pid == 0:
                raise  # nothing was executed: no QEMU said anything
            # A QEMU that refuses to start is what some scenarios are about: find out
            # whether the build is to blame, else leave it to the verdict.
            probe = await builds.probe(peer.binary)
            lacking.at_launch(probe.facts, probe.types, argv, self.scenario, str(error))
            peer.facts = probe.facts
            return
        builds.require_version(peer.binary, peer.vm.monitor.version)
        peer.listen()
        # One after the other these would be a dozen round trips.
        try:
            peer.facts, *_ = await asyncio.gather(
                builds.facts(peer.vm.monitor, peer.binary),
                peer.configure(self.scenario, self._tls.of(peer.side)),
                *(
                    [guest_side.set_up(peer, self.scenario, self.log)]
                    if peer.side is Side.SOURCE
                    else []
                ),
            )
        except (QmpTimeout, LostVM) as error:
            # It came up and then hung or died: that is QEMU's doing, and judged.
            await self._record_deadline((peer,), str(error), None)
            return
        peer.is_up = peer.is_configured

    # -- migration -------------------------------------------------------------------

    def _actions(self) -> Actions:
        vms = {Target(peer.side.value): peer.vm for peer in self._peers}
        tell = self._link.tell if self._link else None
        return Actions(self.scenario.actions, vms, tell, self.log)

    async def _listen(self) -> dict[str, Any]:
        """Let the destination listen; the address to migrate to."""
        address = migration.address(self.scenario)
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
            "filename": str(self.rundir.folder / _STREAM),
            "offset": 0,
        }
        async with self._actions():
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
            return [peer.end for peer in peers]

        def all_ended() -> list[str | None] | None:
            found = ends()
            return found if None not in found else None

        def one_failed_or_all_ended() -> list[str | None] | None:
            found = ends()
            failed = any(end not in (None, "completed") for end in found)
            return found if failed or None not in found else None

        waits_s, since = self.scenario.deadline_s, ""
        try:
            found = await self._activity.until(one_failed_or_all_ended, waits_s)
            if None in found:
                is_mismatch = self.scenario.tls_mismatch is not None
                waits_s = _QUIET_S if is_mismatch else asking.settle_s(self.scenario)
                since = " after the other side had ended"
                found = await self._activity.until(all_ended, waits_s)
        except TimeoutError:
            if self.scenario.tls_mismatch and migration.listens_on(
                *(p.events for p in self._peers)
            ):
                return None
            if await convergence.call_off(
                peers, self._activity, self.log, self.scenario.deadline_s
            ):
                return None
            waiting = [str(p.side) for p, end in zip(peers, ends(), strict=True) if end is None]
            waiting_for = f"the end of {' and '.join(waiting)}{since}"
            await self._record_deadline(peers, waiting_for, waits_s)
            return None
        return found[-1]

    async def _record_deadline(
        self, peers: tuple[Peer, ...], waiting_for: str, waited_s: float | None
    ) -> None:
        """``waited_s``: how long was waited; None: ``waiting_for`` is a sentence that says it."""
        args = {"waiting_for": waiting_for, "deadline_s": self.scenario.deadline_s}
        self.log.note("deadline", {**args, "waited_s": waited_s})
        if self._link is not None:
            self._link.end()
        self._is_late = True
        self.progress("backtrace")
        async with asyncio.TaskGroup() as group:
            for peer in peers:
                group.create_task(peer.vm.record_hang(waiting_for, peer.devices.paused))

    # -- after -----------------------------------------------------------------------

    async def _observe_end(self) -> None:
        await self._source_resumed()
        async with asyncio.TaskGroup() as group:
            for peer in self._peers:
                peer.devices.observe_config()
                group.create_task(asking.how_it_went(peer))
        if migration.destination_end(self.destination.events) == "completed":
            for peer in reversed(self._peers):
                with contextlib.suppress(VMError):
                    await guest_side.observe(peer, self.scenario, self.log)
        await self._guest_goes_on()

    async def _guest_goes_on(self) -> None:
        """Let the guest show that it does, at whichever side runs it now."""
        heir = self.survivor() if self.scenario.guest else None
        if heir and (waiting_for := await running_guest.until_it_goes_on(heir, self.scenario)):
            await self._record_deadline((heir,), waiting_for, self.scenario.deadline_s)

    async def _source_resumed(self) -> None:
        await asking.until_resumed(self.source, self.destination)

    def _compare(self) -> None:
        # After the deadline nobody asks for more than there is time for.
        go_on = Limit(
            self._has_ended, asking.SETTLE_S if self._is_late else self.scenario.deadline_s
        )
        # The destination first: where it got the same bytes, their digest is the source's.
        for peer in reversed(self._peers):
            peer.devices.report(go_on)

    @property
    def _facts(self) -> tuple[BuildFacts, BuildFacts]:
        """Of the source's build and the destination's."""
        return self.source.known_facts, self.destination.known_facts

    def _write(self, source: BuildFacts, destination: BuildFacts) -> History:
        self.rundir.write_history(self.records)
        written = Manifest(
            harness=harness.__version__,
            scenario=self.scenario.name,
            started_ns=self._started_ns,
            ended_ns=time.time_ns(),
            source=source,
            destination=destination,
            complete=True,
        )
        manifest = self.rundir.write_manifest(written)
        ordered = sorted(self.records, key=lambda record: record.t_ns)
        return History(self.scenario, manifest, ordered)
