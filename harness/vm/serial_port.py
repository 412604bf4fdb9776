"""A 16550 serial port, set up and read back through the human monitor as by a guest.

The registers are those of include/uapi/linux/serial_reg.h of the kernel.  Their use is that of
mtty (samples/vfio-mdev/mtty.c), whose ports are looped back: a byte that is sent is in the FIFO
until it is read.
"""

from collections.abc import Iterator
from random import Random

import msgspec

from harness.vm import pci_config
from harness.vm.qmp import Monitor

PORTS = 8
"""I/O ports of one serial port."""
_DATA, _IER, _FCR, _LCR, _MCR, _LSR, _MSR, _SCR = range(PORTS)
_IIR = _FCR  # when read
_DIVISOR_LOW, _DIVISOR_HIGH = _DATA, _IER  # while the divisor latch is open
_DLAB = 0x80
_ENABLE_AND_CLEAR_FIFO = 0x07
_DATA_READY = 0x01
FIFO_SIZE = 15
"""Of mtty's 16 bytes: with all 16 in use its head and tail are equal, and it reports empty."""


class Registers(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be read from a port."""

    divisor: int
    ier: int
    """Interrupts that are enabled."""
    iir: int
    """Interrupts that are pending."""
    lcr: int
    """Line control."""
    mcr: int
    """Modem control."""
    lsr: int
    """Line status."""
    msr: int
    """Modem status."""
    scr: int
    """Scratch."""
    fifo: str
    """Bytes that were sent and not read, in hex."""


def contents(seed: str) -> tuple[dict[int, int], int, bytes]:
    """What to write, by ``seed``: registers, divisor, bytes to send."""
    random = Random(seed)
    # No interrupt is enabled: without a guest none would be served.
    registers = {
        _LCR: random.randrange(0x01, _DLAB),
        _MCR: random.randrange(0x01, 0x40),
        _SCR: random.randrange(0x01, 0x100),
    }
    return registers, random.randrange(0x0101, 0x1_0000), random.randbytes(FIFO_SIZE)


async def fill(monitor: Monitor, port: int, seed: str) -> Registers:
    """Write the contents of ``seed`` to the serial port at the I/O ports from ``port`` on.

    :return: what the destination must show: the values written, or the values read now if reading
        does not change them
    """
    registers, divisor, sent = contents(seed)
    writes = [
        (_LCR, 0),  # close the divisor latch: an earlier filling has left it open
        (_IER, 0),
        (_MCR, registers[_MCR]),
        (_SCR, registers[_SCR]),
        (_FCR, _ENABLE_AND_CLEAR_FIFO),
        *((_DATA, byte) for byte in sent),
        (_LCR, registers[_LCR] | _DLAB),  # left open: opening it again would clear the divisor
        (_DIVISOR_LOW, divisor & 0xFF),
        (_DIVISOR_HIGH, divisor >> 8),
    ]
    await monitor.human(*(pci_config.write_port(port + at, value) for at, value in writes))
    shown = await _read(monitor, port, _IIR, _LSR, _MSR)
    return Registers(
        divisor=divisor,
        ier=0,
        iir=shown[_IIR],
        lcr=registers[_LCR] | _DLAB,
        mcr=registers[_MCR],
        lsr=shown[_LSR],
        msr=shown[_MSR],
        scr=registers[_SCR],
        fifo=sent.hex(),
    )


async def drain(monitor: Monitor, port: int) -> Registers:
    """Read all of the port; this closes the divisor latch and empties the FIFO."""
    latched = (_DIVISOR_LOW, _DIVISOR_HIGH, _LCR, _MCR, _LSR, _MSR, _SCR, _IIR)
    shown = await _read(monitor, port, *latched)
    await monitor.human(pci_config.write_port(port + _LCR, shown[_LCR] & ~_DLAB))
    opened = await _read(monitor, port, _IER)
    answers = await monitor.human(
        *(pci_config.read_port(port + at) for _ in range(FIFO_SIZE) for at in (_LSR, _DATA))
    )
    return Registers(
        divisor=shown[_DIVISOR_HIGH] << 8 | shown[_DIVISOR_LOW],
        ier=opened[_IER],
        iir=shown[_IIR],
        lcr=shown[_LCR],
        mcr=shown[_MCR],
        lsr=shown[_LSR],
        msr=shown[_MSR],
        scr=shown[_SCR],
        fifo=bytes(_ready([pci_config.value_of(answer) for answer in answers])).hex(),
    )


def _ready(values: list[int]) -> Iterator[int]:
    """The data that were ready, of pairs of line status and data."""
    for status, data in zip(values[::2], values[1::2], strict=True):
        if status & _DATA_READY:
            yield data


async def _read(monitor: Monitor, port: int, *registers: int) -> dict[int, int]:
    answers = await monitor.human(*(pci_config.read_port(port + at) for at in registers))
    return dict(zip(registers, map(pci_config.value_of, answers), strict=True))
