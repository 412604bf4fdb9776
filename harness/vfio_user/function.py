"""The PCI function of a server, as ``harness.vfio.device`` has it of a device of its own.

QEMU reads and writes the registers and BARs in a memfd, which no call shows: what it has changed
is written to the server before a change of the device's state, and read back after one that loads
a state.  So a register whose read has an effect, and one that the device changes itself, are not
those of the server meanwhile.
"""

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from harness.history.device import Arc, Reset
from harness.scenario import EmulatedDevice
from harness.vfio import arcs, config_space, uapi
from harness.vfio.answer import (
    DONE,
    UNKNOWN,
    Answer,
    InstallDataFd,
    TargetMemory,
    refuse,
)
from harness.vfio.device import PciFunction
from harness.vfio.state_bytes import StateBytes
from harness.vfio.transfer import Loading, Saving, Share
from harness.vfio.uapi import DeviceState, Feature, MigrationFlag, Region, Vfio
from harness.vfio_user.client import Client
from harness.vfio_user.messages import (
    DEVICE_INFO,
    IRQ_SET,
    Command,
    RegionInfo,
    unpacked,
)

PassFds = Callable[[list[int]], list[int]]
"""Our descriptors of those that QEMU has by these numbers; the caller closes them."""

_PASSED = (Feature.MIGRATION, Feature.MIG_DEVICE_STATE, Feature.MIG_DATA_SIZE)
_LACKING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY)
"""What a server may answer to a feature that it lacks; the kernel's answer is ENOTTY."""
_MOST_ARGUMENT = 1 << 16
_IRQ_EVENTFD = 1 << 2  # VFIO_IRQ_SET_DATA_EVENTFD
_CONFIG_BASE = Region.CONFIG << uapi.REGION_SHIFT


class RemoteSaving(Saving):
    """The state of a source device, read from its server."""

    def __init__(self, spec: EmulatedDevice, state: StateBytes, client: Client) -> None:
        super().__init__(spec, state)
        self._client = client
        self._ahead = b""

    def read(self, asked: int) -> Share:
        """Of what the server gives; also behind the end, where it has nothing more."""
        share = super().read(asked)
        if not self._ahead:
            try:
                self._ahead = self._client.read_state(share.count or asked)
            except OSError as error:
                return Share(self.position, 0, error.errno or errno.EIO)
        return Share(self.position, min(asked, len(self._ahead)))

    def data(self, share: Share) -> bytes:
        """The server's bytes."""
        return self._ahead[: share.count]

    def commit(self, count: int) -> None:
        """They have reached QEMU."""
        super().commit(count)
        self._ahead = self._ahead[count:]


class RemoteLoading(Loading):
    """The state of a destination device, written to its server."""

    def __init__(
        self, spec: EmulatedDevice, expected: Callable[[], StateBytes | None], client: Client
    ) -> None:
        super().__init__(spec, expected)
        self._client = client
        self._delivered: bytes | None = None

    def write(self, asked: int) -> Share:
        """No more than one message has."""
        return super().write(min(asked, self._client.most_data))

    def deliver(self, share: Share, data: bytes) -> Share:
        """To the server; once, although QEMU repeats a call that was interrupted."""
        if self._delivered != data:
            try:
                self._client.write_state(data)
            except OSError as error:
                return Share(share.offset, 0, error.errno or errno.EIO)
            self._delivered = data
        return share

    def commit(self, data: bytes) -> None:
        """QEMU knows that it was taken."""
        super().commit(data)
        self._delivered = None


class RemoteFunction(PciFunction):
    """The device of a server in one QEMU.

    :param spec: what is known of the device; what follows is as of a PciFunction
    :param client: connected, and agreed on a version
    :param pass_fds: for interrupts
    :raise OSError: the server refuses what each device has, or is lost
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        *arguments: Any,
        client: Client,
        pass_fds: PassFds,
        **settings: Any,
    ) -> None:
        self.client = client
        self._pass_fds = pass_fds
        self._infos: dict[int, RegionInfo] = {}
        self._known: dict[int, bytes] = {}  # contents of regions that server and QEMU have
        super().__init__(spec, *arguments, **settings)
        # What the server fails by itself, the client does not fail.
        save = msgspec.structs.replace(spec.save, error_at=None)
        load = msgspec.structs.replace(spec.load, error_at=None)
        self._plain = msgspec.structs.replace(spec, save=save, load=load)
        self._handlers |= {
            Vfio.DEVICE_GET_INFO: self._remote_info,
            Vfio.DEVICE_GET_REGION_INFO: self._remote_region,
            Vfio.DEVICE_GET_IRQ_INFO: self._remote_irq,
            Vfio.DEVICE_SET_IRQS: self._remote_irqs,
            Vfio.DEVICE_RESET: self._remote_reset,
            Vfio.DEVICE_FEATURE: self._remote_feature,
        }
        self.flags = self._remote_flags()

    # -- contents --------------------------------------------------------------------

    def power_on(self) -> None:
        """As the server's device has its registers and BARs now."""
        for index in range(Region.VGA):
            request = uapi.REGION_INFO.pack(uapi.REGION_INFO.size, 0, index, 0, 0, 0)
            try:
                payload = self.client.ask(Command.DEVICE_GET_REGION_INFO, request)
            except OSError:
                if self.client.failure is not None:
                    raise
                continue  # it has no such region
            with self.client.reading(Command.DEVICE_GET_REGION_INFO):
                self._infos[index] = RegionInfo.parse(payload)
        self._pull()

    def _shared(self) -> list[tuple[int, int]]:
        """Index and size of the regions whose contents are those of a memory."""
        return [
            (index, min(info.size, config_space.SIZE if index == Region.CONFIG else info.size))
            for index, info in self._infos.items()
            if info.size and (index == Region.CONFIG or info.flags & uapi.REGION_MMAP)
        ]

    def _pull(self) -> None:
        """Read the contents from the server."""
        for index, size in self._shared():
            data = self.client.region_read(index, 0, size)
            self._regions.write(index << uapi.REGION_SHIFT, data)
            self._known[index] = data

    def _push(self) -> None:
        """Write to the server what QEMU has changed."""
        for index, size in self._shared():
            before = self._known.get(index, bytes(size))
            now = self._regions.read(index << uapi.REGION_SHIFT, size)
            for start, end in _changes(before, now):
                self.client.region_write(index, start, now[start:end])
            self._known[index] = now

    # -- information -----------------------------------------------------------------

    def _remote_info(self, address: int, memory: TargetMemory) -> Answer:
        argsz = int.from_bytes(memory.read(address, 4), "little")
        if argsz < DEVICE_INFO.size:
            return refuse(errno.EINVAL)
        payload = self.client.ask(
            Command.DEVICE_GET_INFO, DEVICE_INFO.pack(DEVICE_INFO.size, 0, 0, 0)
        )
        with self.client.reading(Command.DEVICE_GET_INFO):
            _, flags, regions, irqs = unpacked(DEVICE_INFO, payload, Command.DEVICE_GET_INFO)
        info = uapi.DEVICE_INFO.pack(uapi.DEVICE_INFO.size, flags, regions, irqs, 0)
        return Answer(writes=((address, info[: min(argsz, len(info))]),))

    def _remote_region(self, address: int, memory: TargetMemory) -> Answer:
        """At the offset that it has in our memfd, and without capabilities."""
        layout = uapi.REGION_INFO
        argsz, _, index, _, _, _ = layout.unpack(memory.read(address, layout.size))
        info = self._infos.get(index)
        if argsz < layout.size or info is None:
            return refuse(errno.EINVAL)
        flags = info.flags & (uapi.REGION_READ | uapi.REGION_WRITE | uapi.REGION_MMAP)
        data = layout.pack(layout.size, flags, index, 0, info.size, index << uapi.REGION_SHIFT)
        return Answer(writes=((address, data),))

    def _remote_irq(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.IRQ_INFO
        payload = self.client.ask(Command.DEVICE_GET_IRQ_INFO, memory.read(address, layout.size))
        with self.client.reading(Command.DEVICE_GET_IRQ_INFO):
            fields = unpacked(layout, payload, Command.DEVICE_GET_IRQ_INFO)
        return Answer(writes=((address, layout.pack(*fields)),))

    def _remote_irqs(self, address: int, memory: TargetMemory) -> Answer:
        """With descriptors of the eventfds: as many at once as a message can have, and without
        gaps, of which the protocol has no form.
        """
        argsz, flags, index, start, count = IRQ_SET.unpack(memory.read(address, IRQ_SET.size))
        if not IRQ_SET.size <= argsz <= _MOST_ARGUMENT:
            return refuse(errno.EINVAL)
        data = memory.read(address + IRQ_SET.size, argsz - IRQ_SET.size)
        if not flags & _IRQ_EVENTFD or not count:
            payload = IRQ_SET.pack(argsz, flags, index, start, count) + data
            self.client.ask(Command.DEVICE_SET_IRQS, payload)
            return DONE
        if len(data) < 4 * count:
            return refuse(errno.EINVAL)
        numbers = struct.unpack_from(f"<{count}i", data)
        for first, group in _runs(numbers, self.client.most_fds):
            fds = self._pass_fds(group)
            try:
                request = IRQ_SET.pack(IRQ_SET.size, flags, index, start + first, len(group) or 1)
                self.client.ask(Command.DEVICE_SET_IRQS, request, fds)
            finally:
                _close(fds)
        return DONE

    def _remote_reset(self, _address: int, _memory: TargetMemory) -> Answer:
        self.client.ask(Command.DEVICE_RESET)
        self.state = DeviceState.RUNNING
        self._pull()
        self._observe(Reset())
        return Answer(drops_data_fd=True)

    # -- VFIO_DEVICE_FEATURE ---------------------------------------------------------

    def _remote_flags(self) -> MigrationFlag:
        """Its migration states, but for pre-copy, of which the protocol has no information
        (VFIO_MIG_GET_PRECOPY_INFO).
        """
        size = uapi.FEATURE_HEADER.size + uapi.MIGRATION.size
        header = uapi.FEATURE_HEADER.pack(size, Feature.MIGRATION | uapi.FEATURE_GET)
        try:
            payload = self.client.ask(Command.DEVICE_FEATURE, header)
        except OSError as error:
            if self.client.failure is not None or error.errno not in _LACKING:
                raise
            return MigrationFlag(0)
        with self.client.reading(Command.DEVICE_FEATURE):
            (flags,) = unpacked(uapi.MIGRATION, payload[len(header) :], Command.DEVICE_FEATURE)
        return MigrationFlag(flags & (MigrationFlag.STOP_COPY | MigrationFlag.P2P))

    def _remote_feature(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.FEATURE_HEADER
        argsz, flags = layout.unpack(memory.read(address, layout.size))
        feature = flags & uapi.FEATURE_MASK
        if not layout.size <= argsz <= _MOST_ARGUMENT:
            return refuse(errno.EINVAL)
        if feature not in _PASSED:
            return UNKNOWN
        is_probe = bool(flags & uapi.FEATURE_PROBE)
        if feature == Feature.MIGRATION and not is_probe:
            if not self.flags:
                return UNKNOWN
            data = uapi.MIGRATION.pack(self.flags)
            return Answer(writes=((address + layout.size, data),))
        request = memory.read(address, argsz)
        if feature == Feature.MIG_DEVICE_STATE and flags & uapi.FEATURE_SET and not is_probe:
            if argsz < layout.size + uapi.MIG_STATE.size:
                return refuse(errno.EINVAL)
            return self._set_state(address + layout.size, request)
        try:
            payload = self.client.ask(Command.DEVICE_FEATURE, request)
        except OSError as error:
            is_lacking = self.client.failure is None and error.errno in _LACKING
            return UNKNOWN if is_lacking else refuse(error.errno or errno.EIO)
        return Answer(writes=((address, payload[:argsz]),))

    def _set_state(self, address: int, request: bytes) -> Answer:
        raw, _ = uapi.MIG_STATE.unpack_from(request, uapi.FEATURE_HEADER.size)
        asked = DeviceState(raw).name if raw in DeviceState._value2member_map_ else str(raw)
        path = arcs.path(self.state, DeviceState(raw), self.flags) if raw in arcs.NEXT else None
        try:
            if path is None:
                raise OSError(errno.EINVAL, "no such arc")
            if path:  # also before it leaves RESUMING: QEMU has loaded the command register
                self._push()
            self.client.ask(Command.DEVICE_FEATURE, request)
            if path and self.state is DeviceState.RESUMING:
                self._pull()
        except OSError as error:
            number = error.errno or errno.EIO
            before = self.state
            if path is not None:
                self.state = self._remote_state()
            walked: list[str] = []
            for step in path or ():
                if before is self.state:
                    break
                walked.append(step.name)
                if step is self.state:
                    break
            self._observe(Arc(state=asked, path=walked, errno=number))
            return refuse(number)
        install, drops = None, False
        for step in path:
            opened = self._enter(step)
            install = InstallDataFd(opened, address + 4) if opened is not None else None
            drops = drops or step not in (*arcs.SAVING, DeviceState.RESUMING)
        self._observe(Arc(state=asked, path=[step.name for step in path], errno=0))
        # The server may echo any data_fd: the protocol does not use it.
        writes = ((address, uapi.MIG_STATE.pack(raw, -1)),)
        return Answer(writes=writes, install=install, drops_data_fd=drops)

    def _remote_state(self) -> DeviceState:
        """The server's, after it has refused an arc; if it does not say, that before."""
        size = uapi.FEATURE_HEADER.size + uapi.MIG_STATE.size
        flags = Feature.MIG_DEVICE_STATE | uapi.FEATURE_GET
        request = uapi.FEATURE_HEADER.pack(size, flags) + bytes(uapi.MIG_STATE.size)
        try:
            payload = self.client.ask(Command.DEVICE_FEATURE, request)
            with self.client.reading(Command.DEVICE_FEATURE):
                data = payload[uapi.FEATURE_HEADER.size :]
                raw, _ = unpacked(uapi.MIG_STATE, data, Command.DEVICE_FEATURE)
        except OSError:
            return self.state
        return DeviceState(raw) if raw in DeviceState._value2member_map_ else self.state

    def _enter(self, state: DeviceState) -> bool | None:
        """The server has taken this arc.  As of a device of its own."""
        before, self.state = self.state, state
        if state in arcs.SAVING and before not in arcs.SAVING:
            given = self.whole_state()
            self.saving = RemoteSaving(self._plain, given, self.client)
            self.saving.stop(given.head)
            return True
        if state is DeviceState.RESUMING:
            self.loading = RemoteLoading(self._plain, lambda: self.expected(), self.client)  # noqa: PLW0108
            return False
        return None


def _changes(before: bytes, now: bytes) -> list[tuple[int, int]]:
    """Start and end of each run of bytes that differ, in steps of 4 bytes."""
    if before == now:
        return []
    found: list[tuple[int, int]] = []
    for at in range(0, len(now), 4):
        if before[at : at + 4] != now[at : at + 4]:
            end = min(at + 4, len(now))
            if found and found[-1][1] == at:
                found[-1] = found[-1][0], end
            else:
                found.append((at, end))
    return found


def _runs(numbers: tuple[int, ...], most: int) -> list[tuple[int, list[int]]]:
    """Position and numbers of each run of descriptors, of ``most`` at most; one that is missing
    (-1) is a run without numbers.
    """
    found: list[tuple[int, list[int]]] = []
    for position, number in enumerate(numbers):
        if number < 0:
            found.append((position, []))
        elif found and found[-1][1] and len(found[-1][1]) < most and numbers[position - 1] >= 0:
            found[-1][1].append(number)
        else:
            found.append((position, [number]))
    return found


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
