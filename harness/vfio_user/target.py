"""An emulated device behind the protocol: what a server answers, without I/O.

The payload of a message is the argument of the ioctl of the same name, so that
``harness.vfio.device`` answers both.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from harness.history.records import Body
from harness.scenario import EmulatedDevice
from harness.vfio import config_space, uapi
from harness.vfio.answer import RegionMemory
from harness.vfio.device import PciFunction
from harness.vfio.iommu import Iommu
from harness.vfio.transfer import Loading, Saving
from harness.vfio.uapi import DeviceState, Region, Vfio
from harness.vfio_user.messages import (
    IRQ_SET,
    Command,
    DmaMap,
    DmaUnmap,
    MigData,
    ProtocolError,
    RegionAccess,
    Version,
    parse_writes,
    unpacked,
)

_IOCTLS = {
    Command.DEVICE_GET_INFO: Vfio.DEVICE_GET_INFO,
    Command.DEVICE_GET_REGION_INFO: Vfio.DEVICE_GET_REGION_INFO,
    Command.DEVICE_GET_IRQ_INFO: Vfio.DEVICE_GET_IRQ_INFO,
    Command.DEVICE_SET_IRQS: Vfio.DEVICE_SET_IRQS,
    Command.DEVICE_RESET: Vfio.DEVICE_RESET,
    Command.DEVICE_FEATURE: Vfio.DEVICE_FEATURE,
}
_MOST_ARGUMENT = 1 << 16


class _Argument:
    """A payload as the memory of an ioctl's argument, at address 0."""

    def __init__(self, payload: bytes) -> None:
        self.data = bytearray(payload)

    def read(self, address: int, length: int) -> bytes:
        found = bytes(self.data[address : address + length])
        if len(found) != length:
            raise OSError(errno.EINVAL, "the payload is too short")
        return found

    def write(self, address: int, data: bytes) -> None:
        lacking = address + len(data) - len(self.data)
        self.data.extend(bytes(max(0, lacking)))
        self.data[address : address + len(data)] = data


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers: a payload, or an errno."""

    payload: bytes = b""
    errno: int = 0
    has_regions: bool = False
    """Whether the descriptor of the regions' memory is sent with it."""


class Target:
    """The device ``spec`` of a server.

    :ivar maps: memory that it can access: address and length -> what DMA_MAP said
    :ivar asked: names of the commands that came, in order of their first
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        side: str,
        regions: RegionMemory,
        observe: Callable[[Body], None],
    ) -> None:
        self.spec = spec
        self.function = PciFunction(spec, regions, Iommu(), observe, spec.refused_at(side))
        self.maps: dict[tuple[int, int], DmaMap] = {}
        self.asked: dict[str, int] = {}
        self.features: set[int] = set()
        """Those that DEVICE_FEATURE asked for."""
        self._regions = regions

    def answer(self, command: int, payload: bytes) -> Reply:
        """The reply to one message; a client's mistake is answered with EINVAL."""
        try:
            known = Command(command)
        except ValueError:
            return Reply(errno=errno.ENOTSUP)
        self.asked[known.name] = self.asked.get(known.name, 0) + 1
        try:
            return self._answer(known, payload)
        except ProtocolError:
            return Reply(errno=errno.EINVAL)
        except OSError as error:
            return Reply(errno=error.errno or errno.EIO)

    def _answer(self, command: Command, payload: bytes) -> Reply:
        match command:
            case Command.VERSION:
                return self._version(payload)
            case Command.DMA_MAP:
                mapping = DmaMap.parse(payload)
                self.maps[mapping.iova, mapping.length] = mapping
                return Reply()
            case Command.DMA_UNMAP:
                unmap = DmaUnmap.parse(payload)
                if self.maps.pop((unmap.iova, unmap.length), None) is None:
                    return Reply(errno=errno.ENOENT)
                return Reply(unmap.pack())
            case Command.REGION_READ:
                return self._region_read(RegionAccess.parse(payload, has_data=False))
            case Command.REGION_WRITE:
                access = RegionAccess.parse(payload, has_data=True)
                self._region_write(access)
                return Reply(RegionAccess(access.region, access.offset, access.count).pack())
            case Command.REGION_WRITE_MULTI:
                writes = parse_writes(payload)
                for access in writes:
                    self._region_write(access)
                return Reply(len(writes).to_bytes(8, "little"))
            case Command.MIG_DATA_READ:
                return self._read(MigData.parse(payload, has_data=False).size)
            case Command.MIG_DATA_WRITE:
                return self._write(MigData.parse(payload, has_data=True).data)
            case _ if command in _IOCTLS:
                return self._ioctl(command, payload)
            case _:
                return Reply(errno=errno.ENOTSUP)

    @staticmethod
    def _version(payload: bytes) -> Reply:
        theirs, ours = Version.parse(payload), Version()
        if theirs.major != ours.major:
            return Reply(errno=errno.EINVAL)
        return Reply(Version(minor=min(ours.minor, theirs.minor)).pack())

    # -- regions ---------------------------------------------------------------------

    def _at(self, access: RegionAccess) -> int:
        """Where it lies in the regions' memory."""
        sizes: dict[int, int] = {Region.BAR0: self.spec.bar_size, Region.CONFIG: config_space.SIZE}
        if access.offset + access.count > sizes.get(access.region, 0):
            raise ProtocolError("an access outside the region")
        return (access.region << uapi.REGION_SHIFT) + access.offset

    def _region_read(self, access: RegionAccess) -> Reply:
        data = self._regions.read(self._at(access), access.count)
        return Reply(RegionAccess(access.region, access.offset, access.count, data).pack())

    def _region_write(self, access: RegionAccess) -> None:
        self._regions.write(self._at(access), access.data)

    # -- state -----------------------------------------------------------------------

    def _read(self, asked: int) -> Reply:
        """All that is asked for: less is the end of the state."""
        saving = self.function.saving
        if not isinstance(saving, Saving) or self.function.state is not DeviceState.STOP_COPY:
            return Reply(errno=errno.EINVAL)
        pieces: list[bytes] = []
        while (left := asked - sum(map(len, pieces))) > 0:
            share = saving.read(left)
            if share.errno and not pieces:
                return Reply(errno=share.errno)
            if share.errno or not share.count:
                break
            pieces.append(saving.data(share))
            saving.commit(share.count)
        data = b"".join(pieces)
        return Reply(MigData(len(data), data).pack())

    def _write(self, data: bytes) -> Reply:
        """All of it."""
        loading = self.function.loading
        if not isinstance(loading, Loading) or self.function.state is not DeviceState.RESUMING:
            return Reply(errno=errno.EINVAL)
        while data:
            share = loading.write(len(data))
            if share.errno:
                return Reply(errno=share.errno)
            loading.commit(data[: share.count])
            data = data[share.count :]
        return Reply()

    # -- what is as an ioctl -----------------------------------------------------------

    def _ioctl(self, command: Command, payload: bytes) -> Reply:
        if command is Command.DEVICE_SET_IRQS:  # it has none that it fires
            unpacked(IRQ_SET, payload, command)
            return Reply()
        if command is Command.DEVICE_FEATURE:
            header = unpacked(uapi.FEATURE_HEADER, payload, command)
            if header[0] > _MOST_ARGUMENT:
                return Reply(errno=errno.EINVAL)
            self.features.add(header[1] & uapi.FEATURE_MASK)
        argument = _Argument(payload)
        answer = self.function.ioctl(_IOCTLS[command], 0, argument)
        if answer.errno:
            return Reply(errno=answer.errno)
        for address, data in answer.writes:
            argument.write(address, data)
        if command is Command.DEVICE_RESET:
            return Reply()
        is_mapped = False
        if command is Command.DEVICE_GET_REGION_INFO:
            flags = uapi.REGION_INFO.unpack_from(argument.data)[1]
            is_mapped = bool(flags & uapi.REGION_MMAP)
        return Reply(bytes(argument.data), has_regions=is_mapped)
