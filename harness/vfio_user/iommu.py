"""The iommufd of a QEMU whose devices are those of servers: its mappings are passed on.

A server gets the descriptor of memory that QEMU has from a memfd or a file, and can map it; other
memory it reads and writes with DMA_READ and DMA_WRITE, which the client answers while it waits for
a reply.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.supervisor.memory import ProcessMemory
from harness.vfio import uapi
from harness.vfio.answer import Answer, TargetMemory
from harness.vfio.iommu import Iommu
from harness.vfio.uapi import Iommufd
from harness.vfio_user.client import Client
from harness.vfio_user.messages import Command, DmaMap, DmaUnmap, MapFlag

_READABLE = 1 << 2  # IOMMU_IOAS_MAP_READABLE


class _File(NamedTuple):
    """A file of a process, and where a mapping of it begins."""

    fd: int
    offset: int


class RemoteIommu(Iommu):
    """Answers the ioctls of the iommufd, and passes mappings on to ``clients``.

    :ivar clients: of the devices; each is to know all mappings
    :param pid: gives QEMU's
    """

    def __init__(self, pid: Callable[[], int]) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self._pid = pid
        self._passed: set[tuple[int, int]] = set()

    def add(self, client: Client) -> None:
        """Pass mappings on to ``client``, and do what it asks for."""
        client.read_dma = self.read_dma
        client.write_dma = self.write_dma
        self.clients.append(client)

    def ioctl(self, number: int, address: int, memory: TargetMemory) -> Answer:
        """As without servers; an error of a server is the call's."""
        before = set(self._mappings)
        answer = super().ioctl(number, address, memory)
        if answer.errno or number not in (
            Iommufd.IOAS_MAP, Iommufd.IOAS_MAP_FILE, Iommufd.IOAS_UNMAP, Iommufd.DESTROY
        ):  # fmt: skip
            return answer
        try:
            if number in (Iommufd.IOAS_MAP, Iommufd.IOAS_MAP_FILE):
                self._map(number, address, memory)
            now = {(iova, self._mappings[key].length) for key in self._mappings for iova in key[1:]}
            for iova, length in sorted(self._passed - now) if before else ():
                self._passed.discard((iova, length))
                for client in self.clients:
                    client.ask(Command.DMA_UNMAP, DmaUnmap(iova, length).pack())
        except OSError as error:
            return Answer(errno=error.errno or errno.EIO)
        return answer

    def _map(self, number: int, address: int, memory: TargetMemory) -> None:
        layout = uapi.IOAS_MAP if number == Iommufd.IOAS_MAP else uapi.IOAS_MAP_FILE
        _, flags, _, where, start, length, iova = layout.unpack(memory.read(address, layout.size))
        access = MapFlag.READ * bool(flags & _READABLE)
        access |= MapFlag.WRITE * bool(flags & uapi.MAP_WRITEABLE)
        with contextlib.ExitStack() as stack:
            if number == Iommufd.IOAS_MAP_FILE:
                found = _opened(self._pid(), where, start)
            else:
                found = _behind(self._pid(), start)
            if found is not None:
                stack.callback(os.close, found.fd)
            offset = found.offset if found is not None else 0
            fds = [found.fd] if found is not None else []
            for client in self.clients:
                client.ask(Command.DMA_MAP, DmaMap(access, offset, iova, length).pack(), fds)
        self._passed.add((iova, length))

    # -- what a server asks for ----------------------------------------------------------

    def _place(self, iova: int, length: int, *, writes: bool) -> int:
        for (_, start), mapping in self._mappings.items():
            is_inside = start <= iova and iova + length <= start + mapping.length
            if is_inside and mapping.address is not None and (mapping.is_writable or not writes):
                return mapping.address + iova - start
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    @contextlib.contextmanager
    def _memory(self) -> Iterator[ProcessMemory]:
        memory = ProcessMemory()
        try:
            memory.attach(self._pid())
            yield memory
        finally:
            memory.close()

    def read_dma(self, iova: int, count: int) -> bytes:
        """``count`` bytes of the guest's memory; OSError EFAULT if they are not mapped."""
        at = self._place(iova, count, writes=False)
        with self._memory() as memory:
            return memory.read(at, count)

    def write_dma(self, iova: int, data: bytes) -> None:
        """Write ``data`` to the guest's memory; OSError EFAULT if it is not mapped."""
        at = self._place(iova, len(data), writes=True)
        with self._memory() as memory:
            memory.write(at, data)


def _opened(pid: int, number: int, offset: int) -> _File | None:
    """The file that the process has open as ``number``; None if it cannot be opened again."""
    try:
        fd = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return _File(fd, offset)


def _behind(pid: int, address: int) -> _File | None:
    """The file that is mapped at ``address``, shared; None if the memory has none, or it is not
    among the process's descriptors.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, mode, offset, _, inode, *_ = line.split()
            start, end = (int(part, 16) for part in area.split("-"))
            if start <= address < end:
                if mode[3] != "s" or inode == "0":
                    return None
                at = int(offset, 16) + address - start
                return _of_inode(pid, int(inode), at)
    return None


def _of_inode(pid: int, inode: int, offset: int) -> _File | None:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if entry.stat().st_ino == inode:
                return _opened(pid, int(entry.name), offset)
    return None
