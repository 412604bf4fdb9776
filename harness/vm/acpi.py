"""Lets a machine enter the ACPI sleeping state S3, as an operating system would.

First the registers of power management get their I/O ports, as by firmware (hw/isa/lpc_ich9.c,
hw/acpi/piix4.c of QEMU).  Then PM1_CNT is written: SLP_EN enters the state of SLP_TYP, which is 1
for S3 (acpi_pm_cnt_write() in hw/acpi/core.c).
"""

from typing import NamedTuple

from harness.vm import pci_config
from harness.vm.qmp import Monitor

_BASE_AT, _BASE = 0x40, 0x600
_PM1_CNT = _BASE + 4
_S3 = 1 << 10 | 1 << 13


class _Function(NamedTuple):
    """The PCI function of power management, and where its ports are enabled."""

    slot: int
    function: int
    enable_at: int
    enable: int


_ICH9 = _Function(31, 0, 0x44, 0x80)
_PIIX4 = _Function(1, 3, 0x80, 0x01)


def can_suspend(machine: str) -> bool:
    """Whether the machine type is known here."""
    return _function(machine) is not None


def _function(machine: str) -> _Function | None:
    name = machine.partition(",")[0]
    if name == "q35" or name.startswith("pc-q35-"):
        return _ICH9
    return _PIIX4 if name == "pc" or name.startswith("pc-i440fx-") else None


async def suspend(monitor: Monitor, machine: str) -> None:
    """Let the machine enter S3; QEMU reports it by the event SUSPEND.

    :raise VMError: the monitor did not answer
    """
    found = _function(machine)
    assert found is not None, machine
    for offset, value in ((_BASE_AT, _BASE | 1), (found.enable_at, found.enable)):
        await pci_config.write_config(monitor, found.slot, offset, value, function=found.function)
    await monitor.human(f"o/h {_PM1_CNT:#x} {_S3:#x}")
