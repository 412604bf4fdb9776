"""A session without a source: a destination is given what a capture holds."""

import time
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from harness.errors import HistoryError, LaunchError, of_a_part
from harness.history import Record, Side
from harness.history.builds import BuildFacts
from harness.history.rundir import History
from harness.proxy.address import from_qmp
from harness.proxy.capture import Capture
from harness.proxy.replay import Replayer
from harness.scenario import Scenario
from harness.scenario.fault_plan import FaultPlan
from harness.session.link import idstrs_of
from harness.session.peer import Peer
from harness.session.session import Session
from harness.vm import builds


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
        then=None,
    )


@dataclass(repr=False)
class ReplaySession(Session):
    """Give the destination of ``scenario`` what ``capture`` holds.

    What the source said and did when it was captured stands in the history too, its times
    moved to this run, so that the same rules judge it.  It cannot notice what happens here:
    ``replayed`` in the history says so.
    """

    capture: Capture = field(kw_only=True)

    async def __aenter__(self) -> Self:
        self.rundir.write_scenario(self.scenario)
        self.destination = self._peer(Side.DESTINATION)
        self._expect()
        return self

    @property
    def _peers(self) -> tuple[Peer, ...]:
        return (self.destination,)

    @property
    def _facts(self) -> tuple[BuildFacts, BuildFacts]:
        return self.capture.manifest.source, self.destination.known_facts

    @property
    def _idstrs(self) -> list[str]:
        return list(idstrs_of(self.scenario).values())

    def _prepare(self) -> None:
        self.capture.read()

    def _expect(self) -> None:
        """Tell the destination's devices what they are to get: what such a source device has."""
        self.destination.devices.expect_generated()

    async def stop(self) -> History:
        """As of any session.

        :raise HistoryError: the capture's states are not what this harness gives such devices
        """
        history = await super().stop()
        captured = {device.id: device.digest for device in self.capture.manifest.devices}
        for record in history.records:
            if (
                record.name == "received"
                and record.side is Side.DESTINATION
                and record.args["expected_digest"] != captured[record.device]
            ):
                raise HistoryError(
                    f"{self.capture.path}: the state of {record.device} is not what this harness "
                    "gives such a device: use the harness that made it, or capture again"
                )
        return history

    async def _launch(self, peer: Peer) -> None:
        try:
            await super()._launch(peer)
        except LaunchError as error:
            raise HistoryError(await self._why_not(peer) or str(error)) from error
        if peer.facts is None or not peer.is_up:
            raise HistoryError(
                await self._why_not(peer)
                or f"{self.capture.path}: {peer.binary} does not start with its settings"
            )
        if why := self.capture.refuses(peer.facts, self.scenario, self._idstrs):
            raise HistoryError(why)

    async def _why_not(self, peer: Peer) -> str:
        """Why a build that does not start cannot take the capture; "": it does not tell."""
        found = await builds.probe(peer.binary)
        return self.capture.refuses(found.facts, self.scenario, self._idstrs, found.machines)

    async def _play(self, address: dict[str, Any]) -> None:
        replayer = Replayer(self.capture, from_qmp(address, self._sockets.home))
        self.log.note("replayed", {"capture": str(self.capture.path)})
        self._take_over_records()
        replayer.start()
        self.progress("transfer")
        try:
            await self._until_ended(self.destination)
        finally:
            replayer.close()
        if replayer.failure is not None:
            raise of_a_part("the replay", replayer.failure) from replayer.failure

    async def _source_resumed(self) -> None:
        """There is no source."""

    def _take_over_records(self) -> None:
        """The source's records, as if it had begun to migrate now."""
        records = msgspec.json.Decoder(Record).decode_lines(self.capture.manifest.records)
        began = next(
            record.t_ns
            for record in records
            if record.name == "execute" and record.args["command"] == "migrate"
        )
        shift = time.time_ns() - began
        self.log.records += [
            msgspec.structs.replace(record, t_ns=record.t_ns + shift) for record in records
        ]
