"""Options of QEMU's ``vfio-pci``, which all kinds of devices have in common."""

from collections.abc import Mapping


def device_option(properties: Mapping[str, str | int | bool]) -> list[str]:
    """The option that attaches one device with ``properties``, each named once."""
    return ["-device", ",".join(("vfio-pci", *map(_property, properties.items())))]


def _property(item: tuple[str, str | int | bool]) -> str:
    name, value = item
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return f"{name}={text.replace(',', ',,')}"
