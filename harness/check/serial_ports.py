"""The serial ports of a kernel's device, as a guest reads them: the harness cannot see the rest.

Each serial port's registers were recorded at the source when it had got its contents, and
at the destination once that had completed (``guest_serial``; ``port`` names the port).
"""

from typing import NamedTuple

from harness.check.evidence import Evidence
from harness.history.device import NotCompared
from harness.history.records import Record, Side
from harness.history.session import GuestSerial


class Difference(NamedTuple):
    """A register that is another at the destination."""

    register: str
    source: Record[GuestSerial]
    destination: Record[GuestSerial]

    @property
    def sentence(self) -> str:
        """In words."""
        ours, theirs = (
            record.args.registers[self.register] for record in (self.source, self.destination)
        )
        port = self.source.args.port
        return (
            f"{self.source.device}: {self.register} of the serial port at {port:#x} was {ours} "
            f"at the source and is {theirs} at the destination"
        )


def is_open(evidence: Evidence, device: str) -> bool:
    """Whether the harness sees the device's state itself: it is no kernel's device."""
    return any(spec.is_observable for spec in evidence.devices if spec.id == device)


def why_not_compared(evidence: Evidence) -> str:
    """Why the bytes of some device are not known to be the source's."""
    for device in evidence.scenario.devices:
        for side in (Side.DESTINATION, Side.SOURCE):
            for record in evidence.of(NotCompared, side, device.id):
                what = "received" if side is Side.DESTINATION else "gave"
                return f"what {device.id} {what} was not compared: {record.args.why}"
    return "what every destination device received is not known"


def ports_compared(evidence: Evidence, device: str) -> int:
    """Serial ports whose registers can be compared; 0 if none, or not all of the source's."""
    ours, theirs = _ports(evidence, device, Side.SOURCE), _ports(evidence, device, Side.DESTINATION)
    return len(ours) if ours.keys() == theirs.keys() else 0


def difference(evidence: Evidence, device: str) -> Difference | None:
    """The first register that differs; None if none does, as far as they were read."""
    theirs = _ports(evidence, device, Side.DESTINATION)
    for port, ours in _ports(evidence, device, Side.SOURCE).items():
        if port not in theirs:
            continue
        after = theirs[port].args.registers
        for register, value in ours.args.registers.items():
            if after[register] != value:
                return Difference(register, ours, theirs[port])
    return None


def foreign(evidence: Evidence, device: str) -> tuple[Record, Record] | None:
    """Records of another device's port at the source, and of one of ``device``'s at the
    destination that shows the same bytes and not its own; None if there are none.
    """
    ours = _ports(evidence, device, Side.SOURCE)
    others = [
        record
        for spec in evidence.devices
        if spec.id != device
        for record in _ports(evidence, spec.id, Side.SOURCE).values()
    ]
    for port, record in _ports(evidence, device, Side.DESTINATION).items():
        sent = record.args.registers["fifo"]
        if not sent or (port in ours and ours[port].args.registers["fifo"] == sent):
            continue
        for other in others:
            if other.args.registers["fifo"] == sent:
                return other, record
    return None


def _ports(evidence: Evidence, device: str, side: Side) -> dict[int, Record[GuestSerial]]:
    """The last record of each port."""
    return {record.args.port: record for record in evidence.of(GuestSerial, side, device)}
