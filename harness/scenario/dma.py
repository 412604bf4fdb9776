"""What an emulated device writes to the guest's RAM by DMA, and how it logs that."""

import enum
from collections.abc import Iterator
from typing import Annotated

import msgspec

from harness.scenario import ranges

PAGE = 4096
FIRST_FREE = 1 << 20
"""Below it are firmware and what it uses."""
END = 1 << 31
"""From there on q35 may have no RAM below 4 GiB."""

Pages = Annotated[int, msgspec.Meta(ge=0, le=1024)]
Address = Annotated[int, msgspec.Meta(ge=FIRST_FREE, lt=END, multiple_of=PAGE)]
Stride = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
Index = Annotated[int, msgspec.Meta(ge=0, le=1023)]
Errno = Annotated[int, msgspec.Meta(ge=0, le=133)]
"""0 for none."""


class Reports(enum.StrEnum):
    """Which calls of DMA_LOGGING_REPORT fail with ``report_errno``."""

    ALL = "all"
    LAST = "last"
    """Those that come once the device has stopped."""


_ERRNOS = ("start_errno", "report_errno", "stop_errno")


class Dma(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DMA of a device in the source's QEMU.

    It writes all of its pages each time: before QEMU starts its log, after that, after ``rounds``
    of its reports, and right before it stops.  Then it writes no more.
    """

    pages: Pages = 0
    """How many pages of 4 KiB it writes; 0 for no DMA."""
    at: Address = 4 << 20
    """Address of the first one in the guest."""
    stride: Stride = 1
    """Pages from the start of one to the start of the next."""
    zeros: bool = False
    """Whether the last write, before it stops, leaves zeros: a page that QEMU sends as none."""
    omits: tuple[Index, ...] = ()
    """Pages, by their numbers, that it leaves out of its log: a device that is broken."""
    rounds: ranges.Count = 4
    """Reports of the log after which it writes again, at most."""
    max_ranges: ranges.Count | None = None
    """Most ranges that DMA_LOGGING_START takes; None for what Linux guarantees."""
    start_errno: Errno = 0
    """DMA_LOGGING_START fails with it, or the IOMMU's HWPT_SET_DIRTY_TRACKING."""
    report_errno: Errno = 0
    """DMA_LOGGING_REPORT fails with it, or the IOMMU's HWPT_GET_DIRTY_BITMAP."""
    reports: Reports = Reports.ALL
    stop_errno: Errno = 0
    """DMA_LOGGING_STOP fails with it, or the IOMMU's HWPT_SET_DIRTY_TRACKING; the log ends."""

    @property
    def addresses(self) -> tuple[int, ...]:
        """Of each page."""
        step = self.stride * PAGE
        return tuple(self.at + number * step for number in range(self.pages))

    @property
    def omitted(self) -> frozenset[int]:
        """Addresses of the pages that it leaves out of its log."""
        addresses = self.addresses
        return frozenset(addresses[number] for number in self.omits if number < self.pages)

    @property
    def is_used(self) -> bool:
        """Whether anything is set: then what QEMU asks of the log is recorded."""
        return self != Dma()

    @property
    def fails(self) -> bool:
        """Whether a call about the log fails by plan, other than STOP."""
        return bool(self.start_errno or self.report_errno or self.max_ranges is not None)

    def copy(self, number: int) -> "Dma":
        """That of the ``number``-th device after this one: other pages."""
        at = self.at + number * self.pages * self.stride * PAGE
        return msgspec.structs.replace(self, at=at)

    def problems(self, device: str, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """What must hold, and what is wrong where it does not."""
        yield (
            not self.pages or not has_guest,
            f"{device}: dma would write over what a guest has in its RAM",
        )
        yield (
            all(number < self.pages for number in self.omits),
            f"{device}: dma.omits has pages that it does not write",
        )
        failing = [name for name in _ERRNOS if getattr(self, name)]
        yield (
            bool(self.pages) or not failing,
            f"{device}: dma.{', '.join(failing)}: with pages 0 nothing is in the log: give pages",
        )

    def within(self, device: str, ram_mib: int) -> tuple[bool, str]:
        """Whether all pages are in the guest's RAM, and what is wrong if not."""
        end = min(ram_mib << 20, END)
        last = self.addresses[-1] if self.pages else 0
        return last + PAGE <= end, f"{device}: dma goes to {last:#x}, beyond RAM of {ram_mib} MiB"
