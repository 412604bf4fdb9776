"""PCI configuration space and I/O ports, accessed through the human monitor.

Without a guest, the harness programs a device as firmware does, on the source only; the
destination must show the same registers after the migration.  Ports 0xCF8 and 0xCFC are
configuration mechanism #1 of the PCI Local Bus Specification.
"""

import asyncio
import re
from collections.abc import Sequence

from harness.vm.qmp import Monitor

_ADDRESS_PORT, _DATA_PORT = 0xCF8, 0xCFC
COMMAND, BAR0, BAR1, INTERRUPT_LINE = 0x04, 0x10, 0x14, 0x3C
COMMAND_IO, COMMAND_MEMORY_AND_MASTER = 0x1, 0x6
_BAR_WINDOW = 0xC000_0000  # in the PCI hole of q35 and pc, above any RAM that we give
_BAR_STRIDE = 1 << 24
_IO_WINDOW, _IO_STRIDE = 0xC000, 0x100  # I/O ports that no device of q35 or pc has


def bar_address(index: int, bar_size: int) -> int:
    """Address of BAR 0 of the ``index``-th device; those of all devices are apart."""
    return _BAR_WINDOW + index * max(_BAR_STRIDE, bar_size)


def io_address(index: int) -> int:
    """First I/O port of the ``index``-th device."""
    return _IO_WINDOW + index * _IO_STRIDE


def _select(slot: int, offset: int, function: int = 0) -> str:
    return f"o/w {_ADDRESS_PORT:#x} {1 << 31 | slot << 11 | function << 8 | offset:#x}"


async def write_config(
    monitor: Monitor, slot: int, offset: int, value: int, *, function: int = 0
) -> None:
    """Write the 32-bit register at ``offset`` of the function at bus 0, ``slot``."""
    await monitor.human(_select(slot, offset, function), f"o/w {_DATA_PORT:#x} {value:#x}")


async def read_config(monitor: Monitor, slot: int, offset: int) -> int:
    """The 32-bit register at ``offset``."""
    _, answer = await monitor.human(_select(slot, offset), f"i/w {_DATA_PORT:#x}")
    return value_of(answer)


async def set_up(
    monitor: Monitor, slot: int, bar_address: int, *, interrupt_line: int | None = None
) -> None:
    """Place BAR 0 at ``bar_address`` and enable memory decoding and bus mastering.

    :param interrupt_line: also write this to PCI_INTERRUPT_LINE
    """
    await write_config(monitor, slot, BAR0, bar_address)
    if interrupt_line is not None:
        await write_config(monitor, slot, INTERRUPT_LINE, interrupt_line)
    await write_config(monitor, slot, COMMAND, COMMAND_MEMORY_AND_MASTER)


MSIX_CONTROL_AT, MSIX_ENABLE, MSIX_MASK_ALL = 16, 1 << 31, 1 << 30
"""Message Control is the upper half of the first word of the MSI-X capability."""
_TABLE_WINDOW, _TABLE_STRIDE = 0xFD00_0000, 0x1000


def table_address(index: int) -> int:
    """Address of BAR 1, with the MSI-X table, of the ``index``-th device."""
    return _TABLE_WINDOW + index * _TABLE_STRIDE


async def place_table(monitor: Monitor, slot: int, address: int) -> None:
    """Place BAR 1 at ``address``."""
    await write_config(monitor, slot, BAR1, address)


async def set_msix(
    monitor: Monitor, slot: int, capability: int, *, enabled: bool, masked: bool
) -> None:
    """Enable MSI-X, and mask the function, or not."""
    value = MSIX_ENABLE * enabled | MSIX_MASK_ALL * masked
    await write_config(monitor, slot, capability, value)


async def set_up_io(monitor: Monitor, slot: int, addresses: Sequence[int]) -> None:
    """Place I/O BARs, from BAR 0 on, at ``addresses`` and enable I/O decoding."""
    for number, address in enumerate(addresses):
        await write_config(monitor, slot, BAR0 + 4 * number, address)
    await write_config(monitor, slot, COMMAND, COMMAND_IO)


async def registers(monitor: Monitor, slot: int) -> dict[str, int]:
    """The registers that :func:`set_up` writes: offset in hex -> value."""
    offsets = (COMMAND, BAR0, INTERRUPT_LINE)
    values = await asyncio.gather(*(read_config(monitor, slot, offset) for offset in offsets))
    return {f"{offset:#04x}": value for offset, value in zip(offsets, values, strict=True)}


def write_port(port: int, value: int) -> str:
    """Command of the human monitor that writes the byte ``value`` to an I/O port."""
    return f"o/b {port:#x} {value:#x}"


def read_port(port: int) -> str:
    """Command of the human monitor that reads a byte from an I/O port."""
    return f"i/b {port:#x}"


def value_of(answer: str) -> int:
    """The value in the monitor's answer to :func:`read_port`."""
    return int(answer.rsplit("=", 1)[1], 16)


async def words(monitor: Monitor, address: int, count: int = 4) -> list[int]:
    """``count`` 32-bit words of guest memory at ``address``."""
    (answer,) = await monitor.human(f"xp/{count}xw {address:#x}")
    return [int(word, 16) for word in re.findall(r"0x[0-9a-f]{8}\b", answer)][:count]
