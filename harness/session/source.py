"""The **source** of a migration: a role that a QEMU plays, or a capture of one.

What only a capture needs is imported where it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from harness.errors import HistoryError, LaunchError, LostVM, VMError, of_a_part
from harness.history import Event, Record, Side, contract, plain
from harness.history.builds import BuildFacts
from harness.history.device import Received
from harness.history.session import Replayed
from harness.scenario import Scenario
from harness.scenario.fault_plan import FaultPlan
from harness.session import firmware
from harness.session.log import Log
from harness.session.peer import Peer
from harness.session.standstill import StandstillWatch, until_either
from harness.vfio.state_bytes import GoOn
from harness.vm import builds, migration
from harness.vm.credentials import Credentials

if TYPE_CHECKING:
    from harness.proxy.capture import Capture
    from harness.proxy.replay import Replayer

SETTLE_S = 5.0
"""For the other side to end once one has failed, and for a source to run again."""
_AGAIN_S = 0.01  # between two questions


Watching = Callable[[Sequence[Peer]], StandstillWatch]
"""Makes what sees a standstill of some QEMUs."""


class Source(Protocol):
    """What a session asks of its source, in this order."""

    @property
    def peer(self) -> Peer | None:
        """Its QEMU; None if there is none."""

    @property
    def facts(self) -> BuildFacts:
        """Of its build."""

    @property
    def thread_ids(self) -> Sequence[int]:
        """Of the harness's threads that send."""

    @property
    def boots_guest(self) -> bool:
        """Whether a guest has to come up before the migration."""

    def expect(self, destination: Peer) -> None:
        """Let the destination's devices know what they are to get."""

    def prepare(self, go_on: GoOn) -> None:
        """Do what takes a while and does not need a QEMU; blocks.

        :raise Stopped: by ``go_on``
        """

    async def start(self, image: Path, credentials: Credentials) -> str:
        """Get ready to migrate.  What did not come if it hangs or dies; else "".

        :param image: the firmware
        :raise HarnessError: it cannot be had
        """

    def takes(self, destination: Peer) -> AbstractAsyncContextManager[None]:
        """Inside it the destination is started.

        :raise HistoryError: the destination cannot take what this source sends, though it may be
            right in refusing it
        """

    def sends(self, address: dict[str, Any], home: Path) -> AbstractAsyncContextManager[None]:
        """Inside it the source sends to ``address``, until it has sent all or is stopped.

        :param address: ``addr`` of a channel in QMP
        :param home: working directory of the QEMUs, which a path in it is relative to
        :raise QmpError: it refuses to migrate
        """

    async def settle(self, destination: Peer, watch: Watching) -> None:
        """Let it come to its final state once the migration has ended."""

    def check(self, records: Iterable[Record]) -> None:
        """Check what was recorded against what it has sent.

        :raise HistoryError: it cannot be judged
        """


class QemuSource:
    """A QEMU.

    :param is_handed_over: it runs already, since an earlier migration
    """

    def __init__(self, peer: Peer, scenario: Scenario, log: Log, *, is_handed_over: bool) -> None:
        self.peer = peer
        self._scenario = scenario
        self._log = log
        self._is_handed_over = is_handed_over

    @property
    def facts(self) -> BuildFacts:
        """Of its build."""
        return self.peer.known_facts

    @property
    def thread_ids(self) -> Sequence[int]:
        """QEMU sends."""
        return ()

    @property
    def boots_guest(self) -> bool:
        """Whether a guest has to come up before the migration."""
        return self._scenario.guest is not None and not self._is_handed_over

    def expect(self, destination: Peer) -> None:
        """The destination's devices are to get what the source's devices give."""
        destination.devices.expect_from(self.peer.devices)

    def prepare(self, go_on: GoOn) -> None:
        """Generate the devices' states."""
        self.peer.devices.prepare(go_on)

    async def start(self, image: Path, credentials: Credentials) -> str:
        """Start it, unless it runs; configure it; let a guest see the devices."""
        peer, scenario = self.peer, self._scenario
        if self._is_handed_over:
            await peer.configure(scenario, credentials.instead())
            await firmware.show(peer, scenario, self._log)
        elif await peer.launch(scenario, image):
            placing = firmware.set_up(peer, scenario, self._log)
            return await peer.get_ready(scenario, credentials.of(Side.SOURCE), placing)
        return ""

    @contextlib.asynccontextmanager
    async def takes(self, destination: Peer) -> AsyncIterator[None]:
        """What the destination refuses is judged."""
        yield

    @contextlib.asynccontextmanager
    async def sends(self, address: dict[str, Any], home: Path) -> AsyncIterator[None]:
        """Start its migration."""
        with contextlib.suppress(LostVM):  # the destination still has to end
            await self.peer.vm.monitor.execute("migrate", migration.channels(address))
        yield

    async def settle(self, destination: Peer, watch: Watching) -> None:
        """After a failure it runs its guest again, a moment after it said so.  One that has
        completed for nothing is made to.  A guest that was paused stays so.
        """
        end, vm = migration.source_end(self.peer.events), self.peer.vm
        if not vm.is_running or vm.is_stuck or end is None:
            return
        if self.peer.is_paused:
            await self._leave_finish_migrate(end)
            return
        if end == "completed":
            if migration.destination_end(destination.events) != "completed":
                with contextlib.suppress(VMError):
                    await vm.monitor.execute("cont")
            return

        def resumed() -> bool | None:
            return True if not (vm.is_running and migration.is_stopped(self.peer.events)) else None

        # If it does not come, query-status says that it stays stopped.
        await until_either(vm.activity, resumed, watch((self.peer,)).until_still, SETTLE_S)

    async def _leave_finish_migrate(self, end: str) -> None:
        """A paused guest leaves this state a moment after the failure, without an event."""
        if end == "completed":
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + SETTLE_S
        with contextlib.suppress(VMError):
            while loop.time() < until:
                answer = await self.peer.vm.monitor.execute("query-status")
                if answer["status"] != "finish-migrate":
                    return
                await asyncio.sleep(_AGAIN_S)

    def check(self, records: Iterable[Record]) -> None:
        """Its own records say what it has sent."""


def scenario_of(capture: Capture, qemu_dst: str, faults: FaultPlan = ()) -> Scenario:
    """What to run to replay ``capture`` into ``qemu_dst``."""
    return msgspec.structs.replace(
        capture.scenario,
        name=f"replay-{capture.scenario.name}",
        qemu=capture.manifest.source.path,
        qemu_dst=qemu_dst,
        machine=capture.manifest.machine,
        relay=True,
        faults=faults,
        actions=(),
        then=(),
    )


class CaptureSource:
    """A capture.

    What the source said and did when it was captured is in the history too, its times moved to
    this run, so that the same rules judge it.  It cannot notice what happens here: ``replayed``
    in the history says so.
    """

    peer = None
    boots_guest = False

    def __init__(self, capture: Capture, scenario: Scenario, log: Log) -> None:
        self._capture = capture
        self._scenario = scenario
        self._log = log
        from harness.session.link import idstrs_of  # noqa: PLC0415 - see above

        self._idstrs = list(idstrs_of(scenario).values())
        self._replayer: Replayer | None = None

    @property
    def facts(self) -> BuildFacts:
        """Of the captured source's build."""
        return self._capture.manifest.source

    @property
    def thread_ids(self) -> Sequence[int]:
        """The replay's, while it sends."""
        return () if self._replayer is None else (self._replayer.thread_id,)

    def expect(self, destination: Peer) -> None:
        """The destination's devices are to get what source devices of that kind have."""
        destination.devices.expect_generated()

    def prepare(self, go_on: GoOn) -> None:
        """Read it."""
        self._capture.read()

    async def start(self, image: Path, credentials: Credentials) -> str:
        """It needs nothing more."""
        return ""

    @contextlib.asynccontextmanager
    async def takes(self, destination: Peer) -> AsyncIterator[None]:
        """A destination that cannot take the capture is refused."""
        try:
            yield
        except LaunchError as error:
            raise HistoryError(await self._why_not(destination) or str(error)) from error
        if destination.facts is None or not destination.is_up:
            raise HistoryError(
                await self._why_not(destination)
                or f"{self._capture.path}: {destination.binary} does not start with its settings"
            )
        if why := self._capture.refuses(destination.facts, self._scenario, self._idstrs):
            raise HistoryError(why)

    async def _why_not(self, destination: Peer) -> str:
        """Why a build that does not start cannot take it; "" if the build does not show that."""
        found = await builds.probe(destination.binary)
        return self._capture.refuses(found.facts, self._scenario, self._idstrs, found.machines)

    @contextlib.asynccontextmanager
    async def sends(self, address: dict[str, Any], home: Path) -> AsyncIterator[None]:
        """Send it from a thread."""
        from harness.proxy.address import from_qmp  # noqa: PLC0415 - see above
        from harness.proxy.replay import Replayer  # noqa: PLC0415

        replayer = self._replayer = Replayer(self._capture, from_qmp(address, home))
        self._log.record(Replayed(str(self._capture.path)))
        self._take_over_records()
        replayer.start()
        try:
            yield
        finally:
            self._replayer = None
            replayer.close()
        if replayer.failure is not None:
            raise of_a_part("the replay", replayer.failure) from replayer.failure

    def _take_over_records(self) -> None:
        """The source's records, as if it had begun to migrate now."""
        events = msgspec.json.Decoder(Event).decode_lines(self._capture.manifest.records)
        records = contract.typed(events, str(self._capture.path))
        began = next(
            record.t_ns
            for record in records
            if record.name == "execute" and plain(record)["command"] == "migrate"
        )
        shift = time.time_ns() - began
        self._log.records += [
            msgspec.structs.replace(record, t_ns=record.t_ns + shift) for record in records
        ]

    async def settle(self, destination: Peer, watch: Watching) -> None:
        """It has no state."""

    def check(self, records: Iterable[Record]) -> None:
        """Its states must be what this harness gives such devices."""
        captured = {device.id: device.digest for device in self._capture.manifest.devices}
        for record in records:
            received = record.args if record.side is Side.DESTINATION else None
            if (
                isinstance(received, Received)
                and received.expected_digest != captured[record.device]
            ):
                raise HistoryError(
                    f"{self._capture.path}: the state of {record.device} is not what this harness "
                    "gives such a device: use the harness that made it, or capture again"
                )
