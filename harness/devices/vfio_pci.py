"""Options of QEMU's ``vfio-pci`` that all kinds of devices have in common."""

from collections.abc import Mapping

from harness.scenario import DeviceSpec

FIRST_SLOT = 2
"""PCI slot of the first device on bus 0; 0 and 31 are taken by q35, 1 by pc."""


def slot_of(index: int) -> int:
    """PCI slot of device number ``index``, of any kind."""
    return FIRST_SLOT + index


def address_of(index: int) -> str:
    """Its PCI address, as Linux in the guest writes it."""
    return f"0000:00:{slot_of(index):02x}.0"


def device_option(
    spec: DeviceSpec, slot: int, properties: Mapping[str, str | int | bool]
) -> list[str]:
    """The option that attaches ``spec``, with each property once.

    :param properties: those of its kind; the properties in ``spec`` override them
    """
    found: dict[str, str | int | bool] = {
        "id": spec.id,
        "addr": f"{slot:#x}",  # the same on both sides: it names the state
        "enable-migration": spec.enable_migration.value,
        "migration-events": "on",
        **properties,
    }
    if spec.multifd_transfer is not None:
        found["x-migration-multifd-transfer"] = spec.multifd_transfer.value
    found |= spec.properties
    return ["-device", ",".join(("vfio-pci", *map(_property, found.items())))]


def _property(item: tuple[str, str | int | bool]) -> str:
    name, value = item
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return f"{name}={text.replace(',', ',,')}"
