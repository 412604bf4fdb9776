"""The names by which a QEMU may report a device: shared by the rules about its errors."""

from harness.check.evidence import PEERS, Evidence
from harness.history.process import Launched
from harness.history.records import Kind, Side


def names(evidence: Evidence, device: str, *sides: Side) -> set[str]:
    """The device's id, its names in the traces of ``sides``, and the name of its section in the
    stream, as in ``0000:00:02.0/vfio`` (vfio_save_state() in hw/vfio/migration.c registers it)."""
    sections = {f"{place}/vfio" for side in sides if (place := place_of(evidence, side, device))}
    return {device} | traced(evidence, device, *sides) | sections


def traced(evidence: Evidence, device: str, *sides: Side) -> set[str]:
    """The device's names in the traces of ``sides``; empty if no event of it was seen."""
    return {
        str(record.args["name"])
        for side in sides
        for record in evidence.events(Kind.TRACE, side, device)
        if "name" in record.args
    }


def places(evidence: Evidence, device: str) -> set[str]:
    """Where the device is on the PCI bus of each side, as far as it is known."""
    return {place for side in PEERS if (place := place_of(evidence, side, device))}


def place_of(evidence: Evidence, side: Side, device: str) -> str:
    """The PCI address of the device by the options that its QEMU was started with, as in
    ``0000:00:02.0``; "" if not known."""
    for record in evidence.of(Launched, side):
        for option in record.args.argv:
            fields = option.split(",")
            address = next((each[5:] for each in fields if each.startswith("addr=")), "")
            if f"id={device}" in fields and address:
                return f"0000:00:{int(address, 0):02x}.0"
    return ""
