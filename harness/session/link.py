"""What lies between the two QEMUs: the relay with the scenario's faults."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from harness.devices.vfio_pci import slot_of
from harness.errors import of_a_part
from harness.history import Record, Side, device, session, wire
from harness.proxy.address import Address, TcpAddress, UnixAddress, from_qmp
from harness.proxy.chain import build
from harness.proxy.recorder import Seen, digest_of
from harness.proxy.relay import Relay
from harness.proxy.tapped import Tap
from harness.scenario import Scenario
from harness.session.log import Log
from harness.vm.sockets import RELAY
from harness.wire.packets import STATE_CONFIG


class Link:
    """A relay in front of the destination that listens at ``onward`` (an ``addr`` of QMP).

    :param tap: is given all that the source sends
    :param home: working directory of the two QEMUs, which a path of ``onward`` is relative to

    What passes becomes records of ``log``.  The faults are notified of what the destination's
    devices have loaded, as ``log`` has it.
    """

    def __init__(
        self,
        scenario: Scenario,
        onward: dict[str, Any],
        log: Log,
        tap: Tap | None = None,
        home: Path = Path(),
    ) -> None:
        self._log = log
        self._idstrs = idstrs_of(scenario)
        self._ids = {idstr: device for device, idstr in self._idstrs.items()}
        changes_data = any(fault.changes_data for fault in scenario.faults)
        self._delivered = Delivered() if changes_data else None
        target = from_qmp(onward, home)
        self._relay = Relay(
            _beside(target),
            target,
            build(scenario.faults, scenario.seed, self._idstrs),
            self._record,
            keeps_payload=changes_data,
            # What a kernel's device got is not seen: then the wire is all there is.
            has_digests=len(scenario.emulated) < len(scenario.devices),
            tap=tap,
            reads_main=scenario.multifd,
        )
        self._holding: list[bool] | None = None
        log.listen(self._hear)
        self._relay.start()

    @property
    def address(self) -> dict[str, Any]:
        """Where the source shall connect to, as the ``addr`` of a channel in QMP."""
        return self._relay.address.qmp()

    @property
    def thread_id(self) -> int:
        """Of the relay's thread."""
        return self._relay.thread_id

    @property
    def is_waiting(self) -> bool:
        """Whether a fault, or the relay itself, waits for a time to pass."""
        return self._relay.is_waiting

    @property
    def faults(self) -> session.Faults:
        """What the faults have done so far."""
        fired = self._relay.fired
        holding = [fault.keeps_back for fault in fired] if self._holding is None else self._holding
        return session.Faults([fault.times for fault in fired], holding)

    def notify(self, name: str, value: int = 0) -> None:
        """Notify the faults of an outside event."""
        self._relay.notify(name, value)

    def end(self) -> None:
        """The migration is over, or given up: which faults still keep something back is settled
        now, before both QEMUs are ended.  Called again it does nothing.
        """
        if self._holding is None:
            self._holding = self.faults.holding

    def close(self) -> None:
        """Close what is open, and record what the faults have done.

        :raise VMError: the relay or a fault had failed
        """
        self._relay.close()
        if self._relay.failure is not None:
            failure = self._relay.failure
            raise of_a_part("the relay", failure) from failure
        if self._delivered is not None:
            for idstr, device in self._ids.items():
                self._log.record(self._delivered.of(idstr), device=device)
        self.end()
        self._log.record(self.faults)

    def abandon(self) -> None:
        """Close what is open; after ``close`` it does nothing."""
        self._relay.close()

    def _record(self, seen: Seen) -> None:
        device = self._ids.get(seen.device, "")
        what = seen.body
        if isinstance(what, wire.Packet) and not device and not what.idstr:
            what = msgspec.structs.replace(what, idstr=seen.device.encode().hex())
        if self._delivered is not None:
            self._delivered.take(seen)
        self._log(Record.of(seen.t_ns, Side.HARNESS, what, device, seen.channel))

    def _hear(self, record: Record) -> None:
        if record.side is not Side.DESTINATION:
            return
        match record.args:
            case device.Write(errno=0, offset=offset, got=got):
                self._relay.notify("loaded", offset + got, self._idstrs[record.device])


class Delivered:
    """The data of each device that the destination was given, put together in order of idx.

    It says what a device must hold after a fault has changed data on its way.  All of it is
    kept in memory, as the relay keeps it too.
    """

    def __init__(self) -> None:
        self._data: dict[str, dict[int, bytes]] = defaultdict(dict)

    def take(self, seen: Seen) -> None:
        """Take the data of a ``packet_out``; of several with one idx the first counts."""
        packet = seen.body
        if not isinstance(packet, wire.PacketOut) or seen.payload is None:
            return
        if packet.idx is not None and not packet.state_flags & STATE_CONFIG:
            self._data[seen.device].setdefault(packet.idx, seen.payload)

    def of(self, idstr: str) -> wire.Delivered:
        """``bytes`` and ``digest`` of the device's data from idx 0 on, up to the first gap."""
        found = self._data[idstr]
        joined = bytearray()
        idx = 0
        while (data := found.get(idx)) is not None:
            joined += data
            idx += 1
        return wire.Delivered(len(joined), digest_of(bytes(joined)))


def idstr_of(index: int) -> str:
    """The idstr of the scenario's ``index``-th device: its place on bus 0, and ``/vfio``.

    qdev_get_dev_path() and vfio_realize() in hw/vfio/migration.c.
    """
    return f"0000:00:{slot_of(index):02x}.0/vfio"


def idstrs_of(scenario: Scenario) -> dict[str, str]:
    """Id of each device of ``scenario`` -> its idstr."""
    return {device.id: idstr_of(index) for index, device in enumerate(scenario.devices)}


def _beside(onward: Address) -> Address:
    """A new address of the same kind."""
    if isinstance(onward, UnixAddress):
        return UnixAddress(RELAY, onward.folder)
    return TcpAddress(onward.host)
