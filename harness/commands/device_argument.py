"""``--device KIND[:...]``: a device in one word of the command line."""

import difflib
from collections.abc import Sequence

from harness.errors import UsageError
from harness.scenario import Device, EmulatedDevice, MdevDevice, PciDevice

FORMS = "emulated, mdev, mdev:TYPE, pci:SOURCE, pci:SOURCE,DESTINATION"
"""What one may look like, for the help."""
_KINDS = ("emulated", "mdev", "pci")


def parse(texts: Sequence[str]) -> tuple[Device, ...]:
    """The devices that ``texts`` name, one each, with ids in order.

    :raise UsageError: one is none of ``FORMS``
    """
    return tuple(_device(text, number) for number, text in enumerate(texts))


def _device(text: str, number: int) -> Device:
    kind, _, rest = text.partition(":")
    name = f"vfio{number}"
    match kind, rest:
        case "emulated", "":
            return EmulatedDevice(id=name, seed=number + 1)
        case "mdev", "":
            return MdevDevice(id=name)
        case "mdev", _ if "/" not in rest:
            return MdevDevice(id=name, type=rest)
        case "pci", _ if rest:
            source, _, destination = rest.partition(",")
            return PciDevice(id=name, source=source, destination=destination)
    near = [word for word in difflib.get_close_matches(kind, _KINDS, n=1) if word != kind]
    hint = f"; did you mean {near[0]}?" if near else f"; one of: {FORMS}"
    raise UsageError(f"--device {text}: not a device{hint}")
