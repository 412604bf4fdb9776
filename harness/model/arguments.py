"""Which of ``qemu_args`` the model knows, and what they change.

With any other argument nothing is demanded of a migration, as with an unknown setting
(``settings``).  Read in hw/vfio/migration.c and hw/i386/intel_iommu.c of QEMU 10.0.13 and 10.2.2,
and seen on 10.0.13 and 11.1.3.
"""

from collections.abc import Iterator, Sequence

from harness.scenario import Scenario

VIOMMU = "intel-iommu"
NOT_WITH_VIOMMU = "Migration is currently not supported with vIOMMU enabled"
_INERT = frozenset(
    {
        "pcie-root-port", "pci-bridge", "pci-testdev", "edu", "virtio-blk-pci", "virtio-scsi-pci",
        "scsi-hd", "virtio-rng-pci", "virtio-net-pci", "virtio-balloon-pci",
    }
)  # fmt: skip
"""Devices that migrate, and have no part in the migration of another one."""
_VIOMMU_PROPERTIES = frozenset({"caching-mode", "intremap", "aw-bits", "device-iotlb"})
_BACKENDS = frozenset({"-blockdev", "-drive", "-netdev"})
_OBJECTS = frozenset({"iothread", "rng-random", "rng-builtin", "throttle-group"})


def unknown(scenario: Scenario) -> Iterator[str]:
    """What the model does not know of the arguments, each in words."""
    for option, value in _options(scenario.qemu_args):
        name, _, properties = value.partition(",")
        is_known = (
            option in _BACKENDS
            or (option == "-object" and name in _OBJECTS)
            or (option == "-device" and name in _INERT)
            or (option == "-device" and name == VIOMMU and _is_known_viommu(scenario, properties))
        )
        if not is_known:
            yield f"argument {option} {value}".rstrip()


def has_viommu(scenario: Scenario) -> bool:
    """Whether the devices are behind a vIOMMU."""
    return any(
        option == "-device" and value.split(",")[0] == VIOMMU
        for option, value in _options(scenario.qemu_args)
    )


def _is_known_viommu(scenario: Scenario, properties: str) -> bool:
    """Only q35 has it; and a machine may let devices bypass it."""
    names = {each.partition("=")[0] for each in properties.split(",") if each}
    return names <= _VIOMMU_PROPERTIES and "bypass" not in scenario.machine


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value, "" if it has none."""
    words = list(arguments)
    while words:
        option = words.pop(0)
        has_value = option.startswith("-") and bool(words) and not words[0].startswith("-")
        yield "-" + option.lstrip("-"), words.pop(0) if has_value else ""
