"""Memory as the device sees it: that of a QEMU, and that of its own regions."""

import errno
import os

import pytest


class Target:
    """Memory of a QEMU: what was put somewhere is mapped, all else is not."""

    def __init__(self):
        self._blocks: dict[int, bytearray] = {}

    def put(self, address: int, data: bytes) -> int:
        self._blocks[address] = bytearray(data)
        return address

    def _place(self, address: int, length: int) -> tuple[bytearray, int]:
        for start, block in self._blocks.items():
            if start <= address and address + length <= start + len(block):
                return block, address - start
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def read(self, address: int, length: int) -> bytes:
        block, at = self._place(address, length)
        return bytes(block[at : at + length])

    def write(self, address: int, data: bytes) -> None:
        block, at = self._place(address, len(data))
        block[at : at + len(data)] = data


class Sparse:
    """A file of no size that reads as zeros where nothing was written."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._bytes.get(at, 0) for at in range(offset, offset + length))

    def write(self, offset: int, data: bytes) -> None:
        self._bytes.update(zip(range(offset, offset + len(data)), data, strict=True))


@pytest.fixture
def target():
    return Target()


@pytest.fixture
def new_regions():
    """Makes region memories."""
    return Sparse
