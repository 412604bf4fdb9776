"""Which pages devices have written: what a log reports as a bitmap, and forgets."""

from harness.vfio.answer import TargetMemory

Writes = tuple[tuple[int, bytes], ...]
"""Addresses in QEMU's process, and what is to be written there."""


class PageLog:
    """Which pages were written since they were last reported."""

    def __init__(self) -> None:
        self._pages: set[int] = set()

    def mark(self, address: int) -> None:
        """The page at ``address`` was written."""
        self._pages.add(address)

    def clear(self) -> None:
        """Forget all."""
        self._pages.clear()

    def take(
        self, iova: int, length: int, page_size: int, bitmap: int, memory: TargetMemory
    ) -> tuple[Writes, int]:
        """Report the pages from ``iova`` on and forget them: what is to be written to the bitmap
        at the address ``bitmap``, and how many pages these are.
        """
        found = [page for page in self._pages if iova <= page < iova + length]
        self._pages.difference_update(found)
        masks: dict[int, int] = {}
        for page in found:
            byte, bit = divmod((page - iova) // page_size, 8)
            masks[byte] = masks.get(byte, 0) | 1 << bit
        return tuple(
            (bitmap + byte, bytes((memory.read(bitmap + byte, 1)[0] | mask,)))
            for byte, mask in sorted(masks.items())
        ), len(found)
