"""The emulated PCI function: VFIO device ioctls, migration v2, DMA logging.

Answers as ``vfio-pci-core`` and a variant driver would (``drivers/vfio/`` of Linux).
"""

import dataclasses
import errno
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.history.device import (
    Arc,
    Config,
    DataFdError,
    PrecopyInfoV2,
    Reinit,
    Reset,
    SizeAnswer,
)
from harness.history.device import Lie as LieTold
from harness.history.records import Body
from harness.scenario import EmulatedDevice, Given
from harness.scenario.interrupts import At, Interrupts
from harness.scenario.misreports import Query
from harness.vfio import arcs, config_space, uapi
from harness.vfio.answer import (
    DONE,
    UNKNOWN,
    Answer,
    InstallDataFd,
    RegionMemory,
    TargetMemory,
    refuse,
)
from harness.vfio.dma import Dma
from harness.vfio.interrupts import Lines
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import StateBytes, generate
from harness.vfio.transfer import Loading, Saving
from harness.vfio.uapi import DeviceState, Feature, MigrationFlag, Region, Vfio

Handler = Callable[[int, TargetMemory], Answer]
Observer = Callable[[Body], None]
"""Records what happened (``harness.history.device``)."""

_STOPPED = (DeviceState.STOP, DeviceState.STOP_COPY)
_DEVICE_INFO_MIN = 16  # up to num_irqs; what follows came later
_FEATURE_OPERATION = uapi.FEATURE_GET | uapi.FEATURE_SET
_FEATURE_FLAGS = uapi.FEATURE_MASK | _FEATURE_OPERATION | uapi.FEATURE_PROBE


class PciFunction:
    """One emulated device in one QEMU.

    :ivar saving: the transfer of the source, from the arc that opened its data_fd until the next
    :ivar loading: the same of the destination
    :param refused: names of states that it fails to enter -> the errno
    :param interrupts: its interrupts on this side; None for those of ``spec``
    :param wrong_data_fds: names of states that QEMU asks for -> how many data_fds they wrongly give
    :ivar expected: returns the state that the peer in the source QEMU gave
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        regions: RegionMemory,
        iommu: Iommu,
        observe: Observer,
        refused: Mapping[str, int] = MappingProxyType({}),
        interrupts: Interrupts | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        wrong_data_fds: Mapping[str, Given] = MappingProxyType({}),
    ) -> None:
        self.spec = spec
        self.flags = MigrationFlag(
            MigrationFlag.STOP_COPY * spec.stop_copy
            | MigrationFlag.P2P * spec.p2p
            | MigrationFlag.PRE_COPY * spec.pre_copy
        )
        self.state = DeviceState.RUNNING
        self._clock = clock
        self._precopy_since = 0.0
        self._has_flags = False
        self.saving: Saving | None = None
        self.loading: Loading | None = None
        self._regions = regions
        self._iommu = iommu
        self._observe = observe
        self._refused = refused
        self._asked: Counter[Query] = Counter()
        self._wrong_data_fds = wrong_data_fds
        self.expected: Callable[[], StateBytes | None] = lambda: None
        self.dma = Dma(spec, iommu, observe, lambda: self.state in arcs.RUNNING)
        self.lines = Lines(
            spec.interrupts if interrupts is None else interrupts,
            observe,
            self._show_pending,
        )
        self._handlers: dict[int, Handler] = {
            Vfio.DEVICE_GET_INFO: self._get_info,
            Vfio.DEVICE_GET_REGION_INFO: self._get_region_info,
            Vfio.DEVICE_GET_IRQ_INFO: self.lines.info,
            Vfio.DEVICE_SET_IRQS: self.lines.arm,
            Vfio.DEVICE_RESET: self._reset,
            # The answer of a function without a slot that can be reset.
            Vfio.DEVICE_GET_PCI_HOT_RESET_INFO: lambda _address, _memory: refuse(errno.ENODEV),
            Vfio.DEVICE_FEATURE: self._feature,
            Vfio.DEVICE_BIND_IOMMUFD: self._bind,
            Vfio.DEVICE_ATTACH_IOMMUFD_PT: self._attach,
            Vfio.DEVICE_DETACH_IOMMUFD_PT: lambda _address, _memory: DONE,
        }
        get, put = uapi.FEATURE_GET, uapi.FEATURE_SET
        # The operations of a feature, the size of its data, its handler.
        self._features: dict[int, tuple[int, int, Handler]] = {
            Feature.DMA_LOGGING_START: (put, uapi.DMA_LOGGING_CONTROL.size, self.dma.start),
            Feature.DMA_LOGGING_STOP: (put, 0, lambda _address, _memory: self.dma.stop()),
            Feature.DMA_LOGGING_REPORT: (get, uapi.DMA_LOGGING_REPORT.size, self.dma.report),
            Feature.MIGRATION: (get, uapi.MIGRATION.size, self._migration),
            Feature.MIG_DEVICE_STATE: (get | put, uapi.MIG_STATE.size, self._device_state),
            Feature.MIG_DATA_SIZE: (get, uapi.MIG_DATA_SIZE.size, self._data_size),
            Feature.MIG_PRECOPY_INFOV2: (put, 0, self._precopy_info_v2),
        }
        self.power_on()

    def behave(
        self,
        spec: EmulatedDevice,
        refused: Mapping[str, int],
        wrong_data_fds: Mapping[str, Given],
    ) -> None:
        """From the next arc on do as ``spec``, the same hardware, says."""
        self.spec = spec
        self._refused = refused
        self._wrong_data_fds = wrong_data_fds

    # -- contents --------------------------------------------------------------------

    def power_on(self) -> None:
        """Set registers and BAR to their values at power-on."""
        self._regions.write(Region.CONFIG << uapi.REGION_SHIFT, config_space.build(self.spec))
        self._regions.write(0, bytes(self.spec.bar_size))

    def fill_contents(self) -> None:
        """Give registers and BAR a pattern of the seed, as a driver in a guest would."""
        self._put_head(generate(~self.spec.seed, 0, config_space.SCRATCH_SIZE + self.spec.bar_size))

    def config(self) -> Config:
        """The registers of the device itself, for a record."""
        base = Region.CONFIG << uapi.REGION_SHIFT
        command = self._regions.read(base + config_space.COMMAND, 2)
        scratch = self._regions.read(base + config_space.SCRATCH, config_space.SCRATCH_SIZE)
        return Config(command=int.from_bytes(command, "little"), scratch=scratch.hex())

    def whole_state(self) -> StateBytes:
        """All of its state, if it stopped now."""
        spec = self.spec
        return StateBytes(spec.seed, spec.total_size, self._head(), spec.precopy_size)

    def _head(self) -> bytes:
        base = Region.CONFIG << uapi.REGION_SHIFT
        registers = self._regions.read(base + config_space.SCRATCH, config_space.SCRATCH_SIZE)
        return registers + self._regions.read(0, self.spec.bar_size)

    def _put_head(self, head: bytes) -> None:
        registers, bar = head[: config_space.SCRATCH_SIZE], head[config_space.SCRATCH_SIZE :]
        base = Region.CONFIG << uapi.REGION_SHIFT
        self._regions.write(base + config_space.SCRATCH, registers)
        self._regions.write(0, bar)

    # -- calls -----------------------------------------------------------------------

    def ioctl(self, number: int, address: int, memory: TargetMemory) -> Answer:
        """The answer to ioctl ``number`` on the device fd."""
        handler = self._handlers.get(number)
        return handler(address, memory) if handler else UNKNOWN

    def data_fd_ioctl(
        self, number: int, address: int, memory: TargetMemory, is_disabled: bool = False
    ) -> Answer:
        """The answer to ioctl ``number`` on the data_fd.

        :param is_disabled: the device has left it, by a reset or an arc; the state is checked
            first (mlx5vf_precopy_ioctl(), mtty_precopy_ioctl())
        """
        if number != Vfio.MIG_GET_PRECOPY_INFO or self.saving is None:
            return UNKNOWN
        if self.state not in (DeviceState.PRE_COPY, DeviceState.PRE_COPY_P2P):
            return refuse(errno.EINVAL)
        if is_disabled:
            return refuse(errno.ENODEV)
        layout = uapi.PRECOPY_INFO
        argsz = layout.unpack(memory.read(address, layout.size))[0]
        if argsz < layout.size:
            return refuse(errno.EINVAL)
        saving = self.saving
        flags = 0
        if saving.ask(self._clock() - self._precopy_since):
            flags = uapi.PRECOPY_INFO_REINIT
            self._observe(Reinit(saving.position, saving.precopy_left()[0]))
        return self._answer(
            Query.PRECOPY_INFO,
            saving.precopy_left(),
            lambda given: (address, layout.pack(argsz, flags, *given)),
        )

    def _get_info(self, address: int, memory: TargetMemory) -> Answer:
        argsz = int.from_bytes(memory.read(address, 4), "little")
        if argsz < _DEVICE_INFO_MIN:
            return refuse(errno.EINVAL)
        info = uapi.DEVICE_INFO.pack(
            uapi.DEVICE_INFO.size,
            uapi.DEVICE_FLAGS_PCI | uapi.DEVICE_FLAGS_RESET,
            uapi.NUM_REGIONS,
            uapi.NUM_IRQS,
            0,
        )
        return Answer(writes=((address, info[: min(argsz, len(info))]),))

    def _get_region_info(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.REGION_INFO
        argsz, _, index, _, _, _ = layout.unpack(memory.read(address, layout.size))
        if argsz < layout.size or index >= Region.VGA:
            return refuse(errno.EINVAL)
        flags, size = 0, 0
        if index == Region.BAR0:
            flags = uapi.REGION_READ | uapi.REGION_WRITE | uapi.REGION_MMAP
            size = self.spec.bar_size
        elif index == Region.BAR1 and self.spec.interrupts.is_used:
            flags, size = uapi.REGION_READ | uapi.REGION_WRITE, config_space.TABLE_SIZE
        elif index == Region.CONFIG:
            flags, size = uapi.REGION_READ | uapi.REGION_WRITE, config_space.SIZE
        info = layout.pack(layout.size, flags, index, 0, size, index << uapi.REGION_SHIFT)
        return Answer(writes=((address, info),))

    def _reset(self, _address: int, _memory: TargetMemory) -> Answer:
        self.state = DeviceState.RUNNING
        self._observe(Reset())
        return Answer(drops_data_fd=True)

    def _bind(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.BIND_IOMMUFD
        argsz, flags, iommufd, _ = layout.unpack(memory.read(address, layout.size))
        device = self._iommu.bind(self.dma, tracks=self.spec.iommu_tracking)
        bound = layout.pack(argsz, flags, iommufd, device)
        return Answer(writes=((address, bound),))

    def _attach(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.ATTACH_IOMMUFD_PT
        _, _, table = layout.unpack(memory.read(address, layout.size))
        error = self._iommu.attach(self.dma, table, tracks=self.spec.iommu_tracking)
        return refuse(error) if error else DONE

    # -- VFIO_DEVICE_FEATURE ---------------------------------------------------------

    def _feature(self, address: int, memory: TargetMemory) -> Answer:
        header = uapi.FEATURE_HEADER
        argsz, flags = header.unpack(memory.read(address, header.size))
        asked = flags & _FEATURE_OPERATION
        is_probe = bool(flags & uapi.FEATURE_PROBE)
        if (
            argsz < header.size
            or flags & ~_FEATURE_FLAGS
            or (asked == _FEATURE_OPERATION and not is_probe)
        ):
            return refuse(errno.EINVAL)
        feature = flags & uapi.FEATURE_MASK
        known = self._features.get(feature)
        is_logging = feature in (
            Feature.DMA_LOGGING_START,
            Feature.DMA_LOGGING_STOP,
            Feature.DMA_LOGGING_REPORT,
        )
        if known is None or not (self.spec.dma_logging if is_logging else self.spec.stop_copy):
            return UNKNOWN
        operations, size, handler = known
        if feature == Feature.MIG_PRECOPY_INFOV2:
            if self.spec.precopy_info_v2 == errno.ENOTTY:
                return UNKNOWN if is_probe else self._precopy_info_v2(address, memory)
            if not self.spec.pre_copy:
                return refuse(errno.EINVAL)
        if asked & ~operations:
            return refuse(errno.EINVAL)
        if is_probe:
            return DONE
        if not asked or argsz - header.size < size:
            return refuse(errno.EINVAL)
        if feature == Feature.MIG_DEVICE_STATE and asked == uapi.FEATURE_GET:
            state = uapi.MIG_STATE.pack(self.state, -1)
            return Answer(writes=((address + header.size, state),))
        return handler(address + header.size, memory)

    def _migration(self, address: int, _memory: TargetMemory) -> Answer:
        return Answer(writes=((address, uapi.MIGRATION.pack(self.flags)),))

    def _precopy_info_v2(self, _address: int, _memory: TargetMemory) -> Answer:
        self._observe(PrecopyInfoV2(errno=self.spec.precopy_info_v2))
        self._has_flags = not self.spec.precopy_info_v2
        return refuse(self.spec.precopy_info_v2) if self.spec.precopy_info_v2 else DONE

    def _data_size(self, address: int, _memory: TargetMemory) -> Answer:
        reported = self.spec.reported_size
        size = self._size_left() if reported is None else reported
        return self._answer(
            Query.DATA_SIZE, (size,), lambda given: (address, uapi.MIG_DATA_SIZE.pack(*given))
        )

    def _answer(
        self,
        query: Query,
        sizes: tuple[int, ...],
        pack: Callable[[tuple[int, ...]], tuple[int, bytes]],
    ) -> Answer:
        """The answer to a question for ``sizes``, as the scenario has it."""
        if not self.spec.misreports:
            return Answer(writes=(pack(sizes),))
        self._asked[query] += 1
        number = self._asked[query]
        plans = (each for each in self.spec.misreports if each.is_about(query, number))
        plan = next(plans, None)
        error = (plan.errno or 0) if plan else 0
        if plan is not None:
            of_query = (
                (plan.stop_copy_length,)
                if query is Query.DATA_SIZE
                else (plan.initial_bytes, plan.dirty_bytes)
            )
            sizes = tuple(
                true if size is None else size for size, true in zip(of_query, sizes, strict=True)
            )
        self._observe(
            SizeAnswer(
                query=query.value,
                number=number,
                errno=error,
                sizes=[] if error else list(sizes),
                left=self._size_left(),
                planned=plan is not None,
            )
        )
        return refuse(error) if error else Answer(writes=(pack(sizes),))

    def _size_left(self) -> int:
        if self.state in arcs.SAVING and self.saving is not None:
            return self.saving.state.total - self.saving.position
        return self.spec.total_size

    def _device_state(self, address: int, memory: TargetMemory) -> Answer:
        raw, _ = uapi.MIG_STATE.unpack(memory.read(address, uapi.MIG_STATE.size))
        is_known = raw in DeviceState._value2member_map_
        asked = DeviceState(raw).name if is_known else str(raw)
        path = arcs.path(self.state, DeviceState(raw), self.flags) if raw in arcs.NEXT else None
        if path is None:
            self._observe(Arc(state=asked, path=[], errno=errno.EINVAL))
            return refuse(errno.EINVAL)
        answer = Answer(writes=((address, uapi.MIG_STATE.pack(raw, -1)),))
        for number, step in enumerate(path):
            if error := self._refused.get(step.name):
                # As mlx5vf_pci_set_device_state(): it is left where the last good arc led.
                walked = [each.name for each in path[:number]]
                self._observe(Arc(state=asked, path=walked, errno=error))
                return Answer(errno=error, drops_data_fd=answer.drops_data_fd)
            is_last = step in _STOPPED and raw != DeviceState.RESUMING
            last = self.dma.write("before it stops", is_last=True) if is_last else ()
            signals = answer.signals + self._fire(step)
            opened = self._enter(step)
            answer = Answer(
                writes=last + answer.writes,
                signals=signals,
                install=InstallDataFd(opened, address + 4) if opened is not None else None,
                drops_data_fd=answer.drops_data_fd or step not in (*arcs.SAVING, step.RESUMING),
            )
        self._observe(Arc(state=asked, path=[step.name for step in path], errno=0))
        wrong = self._wrong_data_fds.get(asked)
        if wrong is None or (wrong is Given.EXTRA) is (answer.install is not None):
            return answer
        self._observe(DataFdError(state=asked, gives=wrong.value))
        extra = InstallDataFd(False, address + 4, is_extra=True) if wrong is Given.EXTRA else None
        return dataclasses.replace(answer, install=extra)

    def _show_pending(self, vectors: set[int]) -> None:
        bits = sum(1 << vector for vector in vectors)
        at = (Region.BAR1 << uapi.REGION_SHIFT) + config_space.PENDING_AT
        self._regions.write(at, bits.to_bytes(8, "little"))

    def _fire(self, state: DeviceState) -> tuple[int, ...]:
        """Fire what is planned for when it goes to ``state``."""
        was_running = self.state in arcs.RUNNING
        if was_running and state in _STOPPED:
            return self.lines.fire(At.STOPPING)
        if not was_running and state in arcs.RUNNING and self.loading is not None:
            return self.lines.fire(At.RUNNING)
        if state is DeviceState.PRE_COPY and was_running:
            return self.lines.fire(At.PRE_COPY)
        return ()

    def _enter(self, state: DeviceState) -> bool | None:
        """Take one arc.  Returns True if it opens a data_fd for saving, False if for resuming."""
        before, self.state = self.state, state
        if state in arcs.SAVING and before not in arcs.SAVING:
            self._precopy_since = self._clock()
            self.saving = Saving(
                self.spec,
                StateBytes(self.spec.seed, self.spec.total_size),
                self._observe,
                has_flags=self._has_flags,
            )
        if state is DeviceState.PRE_COPY_P2P and self.saving is not None:
            self.saving.enter_p2p(self._clock() - self._precopy_since)
        if state is DeviceState.STOP_COPY and self.saving is not None:
            # The device has stopped: its state has the present contents.
            self.saving.stop(self._head())
        if state is DeviceState.RESUMING:
            # Looked up at each call: ``expected`` may be set later.
            self.loading = Loading(self.spec, lambda: self.expected())  # noqa: PLW0108
            self.loading.keep_head(config_space.SCRATCH_SIZE + self.spec.bar_size)
        if before is DeviceState.RESUMING and self.loading is not None:
            self._put_head(self.loading.finish())
            if lie := self.spec.load.lie:
                self._observe(
                    LieTold(lie=lie, at=self.spec.load.lie_at, changed=self.loading.has_lied)
                )
        if state in arcs.SAVING and before not in arcs.SAVING:
            return True
        return False if state is DeviceState.RESUMING else None
