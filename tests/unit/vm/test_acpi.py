"""A machine enters S3 by its registers of power management."""

from typing import Any

import pytest

from harness.vm import acpi


class Monitor:
    def __init__(self):
        self.lines = []

    async def human(self, *lines):
        self.lines += lines
        return [""] * len(lines)


@pytest.mark.parametrize(
    ("machine", "function", "enable"),
    [
        ("q35", 0x8000F800, "0x44 0x80"),
        ("pc-q35-10.0,smm=off", 0x8000F800, "0x44 0x80"),
        ("pc", 0x80000B00, "0x80 0x1"),
        ("pc-i440fx-9.2", 0x80000B00, "0x80 0x1"),
    ],
)
async def test_ports_are_placed_and_enabled_before_the_state_is_entered(machine, function, enable):
    monitor: Any = Monitor()
    at, value = enable.split()
    await acpi.suspend(monitor, machine)
    assert monitor.lines == [
        f"o/w 0xcf8 {function | 0x40:#x}",
        "o/w 0xcfc 0x601",
        f"o/w 0xcf8 {function | int(at, 16):#x}",
        f"o/w 0xcfc {value}",
        "o/h 0x604 0x2400",
    ]
    assert acpi.can_suspend(machine)


@pytest.mark.parametrize("machine", ["microvm", "pcie", "none", "isapc"])
def test_other_machines_are_not_known(machine):
    assert not acpi.can_suspend(machine)
