"""PCI configuration space of the emulated function: a type 0 header, and one vendor capability
or two; with ``interrupts``, one for MSI-X.

Offsets from ``include/uapi/linux/pci_regs.h``.  The function has no interrupt pin and no
PCI Express capability, so that QEMU sees 256 bytes and asks for no more.
"""

import struct
from typing import Final

from harness import scenario

SIZE: Final = 256
COMMAND: Final = 0x04
BAR0: Final = 0x10
BAR1: Final = 0x14
INTERRUPT_LINE: Final = 0x3C
VENDOR_CAPABILITY: Final = 0x40
SCRATCH: Final = VENDOR_CAPABILITY + 4  # the device's own registers: part of its state
SCRATCH_SIZE: Final = scenario.SCRATCH_SIZE

SECOND_CAPABILITY: Final = VENDOR_CAPABILITY + 0x40
MSIX_SIZE: Final = scenario.MSIX_CAPABILITY_SIZE
MSIX_CAPABILITY: Final = SIZE - MSIX_SIZE
TABLE_SIZE: Final = 4096
"""Size of memory BAR 1, which has the MSI-X table and the pending bits; nothing else does."""
PENDING_AT: Final = 2048
_CAP_ID_MSIX = 0x11
_STATUS_CAP_LIST = 0x10
_CLASS_OTHER = 0xFF
_CAP_ID_VENDOR = 0x09


def build(spec: scenario.EmulatedDevice) -> bytes:
    """The 256 bytes of ``spec`` at power-on, with a 32-bit memory BAR 0.

    The BAR's register reads as its size mask.  QEMU uses the region's size, and keeps the
    guest's view of the BARs itself.  The ids are by default as QEMU's edu device has them, and
    match no quirk.
    """
    config = bytearray(SIZE)
    struct.pack_into("<4H", config, 0, spec.vendor_id, spec.device_id, 0, _STATUS_CAP_LIST)
    config[0x0B] = _CLASS_OTHER
    struct.pack_into("<I", config, BAR0, -spec.bar_size & 0xFFFFFFFF)
    struct.pack_into("<2H", config, 0x2C, spec.subsystem_vendor_id, spec.subsystem_id)
    config[0x34] = VENDOR_CAPABILITY
    config[VENDOR_CAPABILITY:SCRATCH] = bytes((_CAP_ID_VENDOR, 0, SCRATCH_SIZE + 4, 0))
    if contents := bytes.fromhex(spec.vendor_capability):
        config[VENDOR_CAPABILITY + 1] = SECOND_CAPABILITY
        size = 3 + len(contents)
        config[SECOND_CAPABILITY : SECOND_CAPABILITY + size] = (
            bytes((_CAP_ID_VENDOR, 0, size)) + contents
        )
    if vectors := spec.interrupts.vectors:
        last = SECOND_CAPABILITY if spec.vendor_capability else VENDOR_CAPABILITY
        config[last + 1] = MSIX_CAPABILITY
        struct.pack_into("<I", config, BAR1, -TABLE_SIZE & 0xFFFFFFFF)
        struct.pack_into(
            "<BBHII", config, MSIX_CAPABILITY, _CAP_ID_MSIX, 0, vectors - 1, 1, PENDING_AT | 1
        )
    return bytes(config)
