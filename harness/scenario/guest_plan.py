"""The **guest** of a scenario: what runs in the QEMUs while it is migrated.

Plain frozen data, like the scenario that holds it; ``images/guest`` has the guests themselves.
"""

import enum
from collections.abc import Iterable, Iterator

import msgspec

from harness.scenario import ranges
from harness.scenario.device_spec import DeviceSpec

LINUX_RAM_MIB = 128  # the stock kernel of images/guest boots with this, and not with 64
_LOW_RAM_MIB = 2048  # q35 has at least this much of its RAM below 4 GiB (QEMU hw/i386/pc_q35.c)


class GuestKind(enum.StrEnum):
    """What runs in it.

    ``linux``: a stock kernel and an init of ours.  ``firmware``: the same in the place of a
    BIOS, up at once also where a Linux takes minutes.  ``auto``: firmware if one of the devices
    may be one of the rig (mdev), else Linux.
    """

    AUTO = "auto"
    LINUX = "linux"
    FIRMWARE = "firmware"


class Guest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """It dirties memory and BAR 0 of each device in rounds, and reports on its console after each
    whether all of it is intact.
    """

    kind: GuestKind = GuestKind.AUTO
    memory_kib: ranges.MemoryKib = 4096
    """Memory that it dirties each round; its other memory does not change."""
    rounds: ranges.Count = 5
    """Rounds that it must report after the migration, at the side where it runs."""
    boot_deadline_s: ranges.Deadline = 180.0
    """From the source's start until the guest has reported its first round."""

    def is_linux(self, devices: Iterable[DeviceSpec]) -> bool:
        """Whether it is a Linux, with these ``devices``."""
        if self.kind is GuestKind.AUTO:
            return not any(device.is_in_rig for device in devices)
        return self.kind is GuestKind.LINUX

    def needs(self, ram_mib: int, *, has_linux: bool) -> Iterator[tuple[bool, str]]:
        """Whether it can run in that much RAM, and what is wrong if it cannot.

        :param has_linux: it is that kind
        """
        if has_linux:
            yield (
                ram_mib >= LINUX_RAM_MIB,
                f"ram_mib is {ram_mib}: a Linux guest needs {LINUX_RAM_MIB} or more",
            )
            room, rest = ram_mib - LINUX_RAM_MIB // 2, f"{LINUX_RAM_MIB // 2} MiB are Linux's"
        else:
            room, rest = min(ram_mib, _LOW_RAM_MIB) - 1, "the first MiB is its own"
        yield (
            room < 1 or 1 <= self.memory_kib <= room << 10,  # else it is ram_mib that is wrong
            f"guest: memory_kib is {self.memory_kib}, not 1 to {room << 10} ({rest})",
        )
        yield self.rounds >= 1, f"guest: rounds is {self.rounds}, below 1"
        yield self.boot_deadline_s > 0, "guest: boot_deadline_s is not above 0"
