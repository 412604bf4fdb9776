"""Which arguments of QEMU the model knows."""

import pytest

from harness.model import arguments
from harness.scenario import Scenario

VIOMMU = "intel-iommu,caching-mode=on"


def unknown(*words: str, machine: str = "q35") -> list[str]:
    return list(arguments.unknown(Scenario(name="x", qemu_args=words, machine=machine)))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-device", "virtio-rng-pci"),
        ("-device", "pcie-root-port,id=rp0,chassis=1", "-device", "virtio-net-pci,bus=rp0"),
        ("-blockdev", "driver=null-co,node-name=a", "--device", "virtio-blk-pci,drive=a"),
        ("-object", "iothread,id=a"),
        ("-device", VIOMMU),
    ],
)
def test_what_is_known(words):
    assert unknown(*words) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-device", "vfio-pci,id=other"), "argument -device vfio-pci,id=other"),
        (("-device", "intel-iommu,x-flts=on"), "argument -device intel-iommu,x-flts=on"),
        (("-device", "virtio-iommu-pci"), "argument -device virtio-iommu-pci"),
        (("-object", "no-such,id=a"), "argument -object no-such,id=a"),
        (("-only-migratable",), "argument -only-migratable"),
        (("-smp", "2", "-device", "edu"), "argument -smp 2"),
        (("lonely",), "argument -lonely"),
    ],
)
def test_what_is_not_known_is_named(words, said):
    assert unknown(*words) == [said]


def test_machine_whose_devices_may_bypass_the_viommu_is_not_known():
    assert unknown("-device", VIOMMU, machine="q35,default-bus-bypass-iommu=on")


@pytest.mark.parametrize(
    ("words", "is_there"),
    [
        ((), False),
        (("-device", "intel-iommu"), True),
        (("-device", VIOMMU), True),
        (("--device", VIOMMU), True),
        (("-device", "virtio-iommu-pci"), False),
        (("-object", "intel-iommu"), False),
    ],
)
def test_viommu_is_found(words, is_there):
    assert arguments.has_viommu(Scenario(name="x", qemu_args=words)) is is_there
