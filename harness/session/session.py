"""The phases of one migration.

What only a relay or a capture needs is imported where it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import harness
from harness import interrupt
from harness.errors import HarnessError, LostVM, QmpError, QmpTimeout, UsageError, VMError, first_of
from harness.history import Body, Record, Side, private
from harness.history.rundir import CAPTURE, TLS, History, Manifest, RunDir
from harness.history.session import Continued, NotCaptured, NotContinued
from harness.scenario import Scenario, Transport
from harness.scenario.action_plan import Target
from harness.session import firmware, guest
from harness.session.actions import Actions
from harness.session.assessment import Assess, Assessment
from harness.session.ending import Ending
from harness.session.log import Log, Progress, silent
from harness.session.peer import Peer
from harness.session.source import SETTLE_S, CaptureSource, QemuSource, Source
from harness.session.standstill import StandstillWatch
from harness.supervisor.attached import memfd_bytes
from harness.vfio.state_bytes import Stopped
from harness.vm import lacking, migration
from harness.vm.activity import Activity
from harness.vm.credentials import Credentials
from harness.vm.memory_watch import MemoryWatch
from harness.vm.sockets import Sockets

if TYPE_CHECKING:
    from harness.proxy.capture import Capture, CaptureWriter
    from harness.session.link import Link

_FIRMWARE = "firmware.bin"
_STREAM = "migration.stream"
_PEERS = (Side.SOURCE, Side.DESTINATION)
_MOST_TRACED = 32 << 20
"""Bytes of traces that are read while QEMU runs, to judge a standstill."""


class Limit:
    """A ``GoOn`` that stops a session's own work on states after ``limit_s`` of processor time, or
    once the session has ended.  To be made in the thread that works: on a busy machine its work
    takes longer, and is no more than it was.

    :param ended: set when the session is left
    """

    def __init__(self, ended: threading.Event, limit_s: float) -> None:
        self._ended = ended
        self._limit_s = limit_s
        self._until = time.thread_time() + limit_s

    def __call__(self) -> None:
        """Let the work go on, or not.

        :raise Stopped: with why
        """
        if self._ended.is_set():
            raise Stopped("the run was interrupted")
        if time.thread_time() > self._until:
            raise Stopped(f"it took longer than {self._limit_s:g} s")


@dataclass(repr=False)  # asyncio.run() asks for it, and it would hold every record
class Session:
    """One migration: the first of ``scenario``, written into ``rundir``.  All at once with
    ``run``, or phase by phase inside ``async with``: ``boot``, ``migrate``, ``stop``.

    :ivar trace_events: path of trace-events-all for the builds of both sides; empty for the one
        next to the binary
    :ivar has_capture: keep all that the source sends in the run directory, for a replay
    :ivar given: what plays the source: a QEMU that an earlier session has handed over, which is
        this session's from now on; or a capture, and ``scenario`` is ``scenario_of`` it.  None
        if a QEMU is to be started
    :ivar assess: judges what was seen so far, where nothing moves any more: a hang ends there.
        None to wait until the deadline
    :ivar heir: the QEMU that was handed over to the next session: the caller must end it
    """

    scenario: Scenario
    rundir: RunDir
    trace_events: str = ""
    progress: Progress = silent
    has_capture: bool = False
    given: Peer | Capture | None = None
    assess: Assess | None = None
    log: Log = field(default_factory=Log)
    destination: Peer = field(init=False)
    heir: Peer | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._before = self.given if isinstance(self.given, Peer) else None
        self._activity = self._before.vm.activity if self._before else Activity()
        self._started_ns = time.time_ns()
        home = self._before.vm.home if self._before else self.rundir.folder
        self._sockets = Sockets(self.scenario, home)
        self._comparison: asyncio.Future[None] | None = None
        self._has_ended = threading.Event()
        self._ending: Ending
        self._acting: Actions | None = None
        self._link: Link | None = None
        self._writer: CaptureWriter | None = None
        self._tls = Credentials(self.scenario, self.rundir.folder / TLS)
        self._source: Source
        self._undo: contextlib.AsyncExitStack

    async def __aenter__(self) -> Self:
        # What is pushed last is undone first; each is undone, whatever others raise.
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_exit(self._take_back)
            undo.callback((self.rundir.path / _STREAM).unlink, missing_ok=True)
            undo.callback(self._discard_capture)
            undo.callback(self._abandon_link)
            undo.callback(self._tls.remove)
            undo.callback(self._sockets.remove)
            if self._before is not None:
                undo.push_async_callback(self._close_monitor, self._before)
                undo.callback(self._release, self._before)
            self.rundir.write_scenario(self.scenario)
            self._source = self._make_source()
            if self._source.peer is not None:
                undo.push_async_callback(self._close_monitor, self._source.peer)
                undo.callback(self._release, self._source.peer)
            self.destination = self._peer(Side.DESTINATION)
            undo.push_async_callback(self._close_monitor, self.destination)
            undo.callback(self._release, self.destination)
            self._ending = Ending(
                self.scenario, self.log, self._activity, self._give_up, self._watch(self._peers),
                self._if_it_ended,
            )  # fmt: skip
            undo.push_async_callback(self._compared)  # it reads the devices' memory
            for peer in self._peers:
                undo.callback(self._abandon, peer)
            if self.has_capture:
                self._writer = self._make_writer()
            self._source.expect(self.destination)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._has_ended.set()  # no work on states goes on
        await self._undo.__aexit__(kind, error, traceback)

    @property
    def source(self) -> Peer:
        """The source's QEMU; a session that was given a capture has none."""
        peer = self._source.peer
        assert peer is not None, "a capture plays the source"
        return peer

    @property
    def records(self) -> list[Record]:
        """All that was seen so far."""
        return self.log.records

    async def run(self) -> History:
        """All phases.  Where the scenario has another migration, the QEMU that runs the guest
        is handed over as ``heir``; else nothing is left running, whatever happens.

        :raise HarnessError: the run could not be made, so there is nothing to judge
        """
        async with self:
            if await self.boot():
                await self.migrate()
            if not self.scenario.then:
                return await self.stop()
            heir = self.survivor()
            if heir is None:
                self.log.record(NotContinued(self.scenario.then[0].name))
                return await self.stop()
            return await self.hand_over(heir)

    async def boot(self) -> bool:
        """Start and configure both QEMUs; whether both are up.

        A QEMU that refuses to start is left to the verdict, unless its build is to blame.

        :raise HarnessError: one could not be started at all
        """
        self.progress("boot")
        lacking.of_memory(memfd_bytes(*map(self._of, _PEERS)), self.scenario)
        if self.scenario.has_zero_copy:
            from harness.devices import memlock  # noqa: PLC0415 - see above

            memlock.require_for_zero_copy()
        image = self.rundir.folder / _FIRMWARE
        private.write(image, firmware.image(self.scenario))
        self._tls.write()
        self._sockets.make()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_source(image))
                group.create_task(self._start_destination(image))
                group.create_task(asyncio.to_thread(self._prepare))
        except ExceptionGroup as errors:
            raise first_of(errors) from errors
        is_up = all(peer.is_up for peer in self._peers)
        if is_up and self._source.boots_guest:
            self.progress("guest")
            is_up = await guest.until_up(self.source, self.scenario, self.log)
        for peer in self._peers:
            peer.vm.record_memory("booted")
            if self._has_more:
                peer.vm.record_resources("booted")
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
                    from harness.session.link import Link  # noqa: PLC0415 - see above

                    self._link = Link(self.scenario, address, self.log, tap, self._sockets.home)
                    address = self._link.address
                async with self._actions():
                    with MemoryWatch([peer.vm.sample_memory for peer in self._peers]):
                        async with self._source.sends(address, self._sockets.home):
                            self.progress("transfer")
                            await self._ending.wait(*self._peers)
        except QmpError:
            pass  # refused before anything was sent: it is in the records
        except (QmpTimeout, LostVM) as error:
            await self._ending.is_missing(self._peers, str(error), None)
        if self._link is not None:
            self._link.end()
        # What the devices hold is final: compare it while both QEMUs are asked and ended.
        loop = asyncio.get_running_loop()
        self._comparison = loop.run_in_executor(None, self._compare)

    def survivor(self) -> Peer | None:
        """The QEMU that runs the guest now; None if there is none, or its migration goes on."""
        peer = self.source
        has_ended = migration.source_end(peer.events) is not None
        if migration.destination_end(self.destination.events) == "completed":
            peer, has_ended = self.destination, True
        vm = peer.vm
        is_well = peer.is_up and vm.is_running and not (vm.is_stuck or vm.monitor.has_quit)
        return peer if has_ended and is_well else None

    async def hand_over(self, peer: Peer) -> History:
        """End the other QEMU and finish, but leave that of ``peer``, the ``heir``, to another
        session.
        """
        peer.hand_over()
        self.heir = peer
        return await self.stop()

    async def stop(self) -> History:
        """End both QEMUs, read their traces, write the run directory.

        :raise HarnessError: the supervisor, the relay or a fault failed, or a build writes
            no trace
        """
        self.progress("compare")
        for peer in self._peers:
            peer.vm.record_memory("ended")
            if self._has_more:
                await peer.record_what_is_left()
        async with asyncio.TaskGroup() as group:
            for peer in self._own_peers:
                group.create_task(peer.vm.shutdown())
        await self._compared()
        for peer in self._peers:
            peer.devices.observe_calls()
        if self._link is not None:
            self._link.close()
        for peer in self._own_peers:
            peer.close_devices()
        with interrupt.at_once():
            for peer in self._peers:
                self.log.records += peer.read_trace(self._started_ns)
            if self._writer is not None:
                from harness.session import capture  # noqa: PLC0415 - see above

                facts = self._source.facts, self.destination.known_facts
                why_not = capture.finish(self._writer, self.scenario, facts, self.records)
                if why_not:
                    self.log.record(NotCaptured(why_not))
            history = self._write()
        self._source.check(history.records)
        return history

    @property
    def _peers(self) -> tuple[Peer, ...]:
        """The QEMUs, the source's first."""
        source = self._source.peer
        return (self.destination,) if source is None else (source, self.destination)

    @property
    def _has_more(self) -> bool:
        """Whether a QEMU of this migration makes another one, or has made one."""
        return bool(self.scenario.then) or self._before is not None

    @property
    def _own_peers(self) -> list[Peer]:
        """Those that are this session's to end."""
        return [peer for peer in self._peers if peer is not self.heir]

    # -- how it is left --------------------------------------------------------------

    async def _take_back(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """The session failed: what it would have handed over ends too."""
        if error is not None and self.heir is not None:
            await self.heir.give_up()
            self.heir = None

    def _make_writer(self) -> CaptureWriter | None:
        """What keeps the bytes that the source sends; None if they cannot be captured."""
        from harness.proxy.capture import CaptureWriter  # noqa: PLC0415 - see above
        from harness.session import capture  # noqa: PLC0415

        if why := capture.why_not(self.scenario):
            self.has_capture = False
            self.log.record(NotCaptured(why))
            return None
        return CaptureWriter(self.rundir.path / CAPTURE)

    def _discard_capture(self) -> None:
        if self._writer is not None:
            self._writer.discard()

    def _abandon_link(self) -> None:
        if self._link is not None:
            self._link.abandon()

    async def _close_monitor(self, peer: Peer) -> None:
        if peer is not self.heir:
            await peer.vm.monitor.close()

    def _release(self, peer: Peer) -> None:
        if peer is not self.heir:
            peer.release()

    def _abandon(self, peer: Peer) -> None:
        if peer is not self.heir:
            peer.vm.abandon()

    async def _compared(self) -> None:
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            await comparison

    # -- before ----------------------------------------------------------------------

    def _make_source(self) -> Source:
        if self.given is not None and not isinstance(self.given, Peer):
            return CaptureSource(self.given, self.scenario, self.log)
        if self._before is None:
            own = self._peer(Side.SOURCE)
            return QemuSource(own, self.scenario, self.log, is_handed_over=False)
        after, is_paused = migration.last_status(self._before.events), self._before.is_paused
        self._before.take_over(self.log)
        self._before.devices.behave(self.scenario.devices)
        self.log.record(Continued(after, is_paused))
        return QemuSource(self._before, self.scenario, self.log, is_handed_over=True)

    def _peer(self, side: Side) -> Peer:
        how = self.rundir.folder, self.trace_events, self.log, self._activity, self._before
        return Peer.make(side, self._of(side), *how)

    def _of(self, side: Side) -> Scenario:
        """What that side is given."""
        return self.scenario if side is Side.SOURCE else self.scenario.at_destination

    async def _start_source(self, image: Path) -> None:
        waiting_for = await self._source.start(image, self._tls)
        if waiting_for:
            await self._ending.is_missing((self.source,), waiting_for, None)

    async def _start_destination(self, image: Path) -> None:
        peer = self.destination
        async with self._source.takes(peer):
            scenario = self._of(peer.side)
            if await peer.launch(scenario, image):
                self._tls.complete(peer.vm.monitor.version)
                waiting_for = await peer.get_ready(scenario, self._tls.of(peer.side))
                if waiting_for:
                    await self._ending.is_missing((peer,), waiting_for, None)

    def _prepare(self) -> None:
        """What takes a while and does not need the QEMUs; blocks."""
        try:
            self._source.prepare(Limit(self._has_ended, self.scenario.deadline_s))
        except Stopped as stopped:
            raise UsageError(
                f"{self.scenario.name}: its states cannot be made ahead: {stopped}, its "
                "deadline_s: give it more, or smaller states"
            ) from stopped

    # -- migration -------------------------------------------------------------------

    def _actions(self) -> Actions:
        vms = {Target(peer.side.value): peer.vm for peer in self._peers}
        notify = self._link.notify if self._link else None
        self._acting = Actions(self.scenario.actions, vms, notify, self.log, self.scenario.machine)
        return self._acting

    def _watch(self, peers: Sequence[Peer]) -> StandstillWatch:
        still_s = self.scenario.standstill_s
        return StandstillWatch(peers, self.log, self._thread_ids, self._is_waiting, still_s)

    def _thread_ids(self) -> list[int]:
        """Of the harness's threads that serve the QEMUs."""
        serving = [tid for peer in self._peers for tid in peer.devices.thread_ids]
        relay = () if self._link is None else (self._link.thread_id,)
        return [*serving, *relay, *self._source.thread_ids]

    def _is_waiting(self) -> bool:
        """Whether something lets the QEMUs wait for a time, on purpose; or may, unseen."""
        return (
            any(device.is_kernel for side in _PEERS for device in self._of(side).devices)
            or any(peer.devices.is_waiting for peer in self._peers)
            or (self._link is not None and self._link.is_waiting)
            or (self._acting is not None and self._acting.counts_time)
        )

    async def _if_it_ended(self, more: Sequence[tuple[Side, Body]]) -> Assessment | None:
        """How the run would be judged if it ended now, with the records ``more``."""
        peers = self._peers
        if self.assess is None or sum(peer.trace_bytes for peer in peers) > _MOST_TRACED:
            return None
        faults = [] if self._link is None else [(Side.HARNESS, self._link.faults)]
        now = time.time_ns()
        added = [Record.of(now, side, body) for side, body in (*faults, *more)]
        kept, assess = [*self.log.records, *added], self.assess

        def judged() -> Assessment | None:
            try:
                for peer in peers:
                    kept.extend(peer.read_trace(self._started_ns))
                kept.sort(key=lambda record: record.t_ns)
                return assess(History(self.scenario, self._manifest(), kept))
            except HarnessError:  # it will be raised again, once all is recorded
                return None

        return await asyncio.to_thread(judged)

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
            if await self._ending.wait(self.source) != "completed":
                return
            await self.destination.vm.monitor.execute(
                "migrate-incoming", {**migration.channels(address), "exit-on-error": False}
            )
            await self._ending.wait(self.destination)

    def _give_up(self) -> None:
        """Something does not end; where the QEMUs are is looked into next."""
        if self._link is not None:
            self._link.end()
        self.progress("backtrace")

    # -- after -----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _impatient(self) -> AsyncIterator[None]:
        """Inside it, a command that is not answered is given up once nothing moves any more."""

        async def give_up() -> None:
            while True:
                await watch.until_still()
                for peer in self._peers:
                    peer.vm.monitor.give_up()

        watch = self._watch(self._peers)
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(give_up())
                yield
                watching.cancel()
        except ExceptionGroup as errors:
            raise first_of(errors) from errors

    async def _observe_end(self) -> None:
        async with self._impatient():
            await self._ask_how_it_went()
        await self._guest_goes_on()

    async def _ask_how_it_went(self) -> None:
        await self._source.settle(self.destination, self._watch)
        async with asyncio.TaskGroup() as group:
            for peer in self._peers:
                peer.devices.observe_config()
                group.create_task(peer.ask_how_it_went())
        if any(device.data_fds for device in self.scenario.emulated):
            async with asyncio.TaskGroup() as group:
                for peer in self._peers:
                    group.create_task(peer.record_data_fds())
        if migration.destination_end(self.destination.events) == "completed":
            for peer in reversed(self._peers):
                with contextlib.suppress(VMError):
                    await firmware.observe(peer, self._of(peer.side), self.log)

    async def _guest_goes_on(self) -> None:
        """Let the guest show that it does, at whichever side runs it now."""
        runs_it = self.survivor() if self.scenario.guest else None
        if runs_it and (waiting_for := await guest.until_it_goes_on(runs_it, self.scenario)):
            await self._ending.is_missing((runs_it,), waiting_for, self.scenario.deadline_s)

    def _compare(self) -> None:
        # After the deadline only what there is time for is compared.
        go_on = Limit(
            self._has_ended, SETTLE_S if self._ending.is_late else self.scenario.deadline_s
        )
        # The destination first: where it got the same bytes, their digest is the source's.
        for peer in reversed(self._peers):
            peer.devices.report(go_on)

    def _write(self) -> History:
        self.rundir.write_history(self.records)
        manifest = self.rundir.write_manifest(self._manifest())
        ordered = sorted(self.records, key=lambda record: record.t_ns)
        return History(self.scenario, manifest, ordered)

    def _manifest(self) -> Manifest:
        return Manifest(
            harness=harness.__version__,
            scenario=self.scenario.name,
            started_ns=self._started_ns,
            ended_ns=time.time_ns(),
            source=self._source.facts,
            destination=self.destination.known_facts,
            complete=True,
        )
