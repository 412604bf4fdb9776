"""One emulated device in one QEMU: its fds, its transfers, its records."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from harness.errors import UsageError
from harness.history import Body, Record, Side
from harness.history.device import DataFd
from harness.scenario import DataPath, EmulatedDevice, Scenario
from harness.supervisor.memory import Memfd
from harness.supervisor.seccomp import DATA_FD_BASE, DATA_FD_END
from harness.vfio.device import PciFunction
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import CHUNK, GoOn, StateBytes, Stopped, to_the_end
from harness.vfio.transfer import Loading, Saving

MEMFD_LIMIT = 1 << 30
"""Larger states are supervised, so that the harness needs less memory."""
_FDS_PER_DEVICE = 4  # used in turn, so that the next data_fd does not close one left open


def uses_memfd(spec: EmulatedDevice, is_saving: bool) -> bool:
    """Whether that side's data_fd is a memfd."""
    if spec.data_path is not DataPath.AUTO:
        return spec.data_path is DataPath.MEMFD
    plain = (
        spec.save == type(spec.save)() and not spec.pre_copy
        if is_saving
        else (
            spec.load == type(spec.load)(lie=spec.load.lie, lie_at=spec.load.lie_at)
            and not spec.precopy_changes
        )
    )
    return plain and (spec.total_size <= MEMFD_LIMIT or spec.load.lie is not None)


def memfd_bytes(source: Scenario, destination: Scenario) -> int:
    """Bytes of device state that are kept in memfds, on both sides."""
    return sum(
        spec.total_size * uses_memfd(spec, is_saving)
        for scenario, is_saving in ((source, True), (destination, False))
        for spec in scenario.emulated
    )


MakeFunction: TypeAlias = Callable[..., PciFunction]
"""Makes what answers QEMU, of the arguments of a PciFunction."""


class AttachedDevice:
    """The device ``spec`` in the QEMU of ``side``.

    :param make: makes its function; may raise an OSError

    :ivar fd: number of the device fd, which QEMU inherits
    :ivar function: what answers
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        side: Side,
        iommu: Iommu,
        index: int,
        record: Callable[[Record], None],
        make: MakeFunction = PciFunction,
    ) -> None:
        self._numbers = range(
            DATA_FD_BASE + index * _FDS_PER_DEVICE, DATA_FD_BASE + (index + 1) * _FDS_PER_DEVICE
        )
        if self._numbers.stop > DATA_FD_END:
            most = (DATA_FD_END - DATA_FD_BASE) // _FDS_PER_DEVICE
            raise UsageError(f"{spec.id}: there can be {most} emulated devices, not more")
        self.spec = spec
        self.side = side
        self.regions = Memfd.for_regions(f"vfio-{side}-{spec.id}")
        self.fd = self.regions.fd  # kept after close(): QEMU's trace names the device by it
        try:
            self.function = make(
                spec,
                self.regions,
                iommu,
                self.observe,
                spec.refused_at(side.value),
                spec.interrupts.on(side.value),
                clock=time.monotonic,
                wrong_data_fds=spec.wrong_data_fds_at(side.value),
            )
        except BaseException:
            self.regions.close()
            raise
        self.ioctls: Counter[str] = Counter()
        self._record = record
        self._opened: Memfd | None = None  # the current data_fd
        self._prepared: Memfd | None = None  # the state, generated ahead
        self._loaded: Memfd | None = None  # what QEMU has written, kept for the comparison
        self._turn = 0
        self._is_ending = False
        self._call = ""  # the call that the current data_fd is for
        self.data_fd = -1
        """Number of the current data_fd in QEMU; -1 if there is none."""
        self.disabled: dict[int, str] = {}
        """Numbers of disabled data_fds, which QEMU may still have open, and the call that they are
        for: ``read`` or ``write``.  Memfds are not among them: QEMU chooses their numbers.
        """

    def owns(self, fd: int) -> bool:
        """Whether ``fd`` is one of its descriptors in QEMU."""
        return fd in (self.fd, self.data_fd) or fd in self.disabled

    def observe(self, args: Body, t_ns: int = 0) -> None:
        """Record ``args`` of this device.

        :param t_ns: CLOCK_REALTIME of it; 0 for now
        """
        self._record(Record.of(t_ns or time.time_ns(), self.side, args, self.spec.id))

    def behave(self, spec: EmulatedDevice) -> None:
        """From now on it is ``spec`` at the source: of a migration after the one that made it."""
        self.spec = spec
        source = Side.SOURCE.value
        self.function.behave(spec, spec.refused_at(source), spec.wrong_data_fds_at(source))

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Generate the state ahead of the migration, so that this takes no time later.

        :raise Stopped: by ``go_on``, or ``end`` was called
        """
        if uses_memfd(self.spec, is_saving=True) and self._prepared is None:
            self._prepared = self._generated(go_on)

    def end(self) -> None:
        """Stop the generation of a state, in any thread."""
        self._is_ending = True

    def _generated(self, go_on: GoOn = to_the_end) -> Memfd:
        memory = Memfd(f"data_fd-{self.spec.id}")
        try:
            chunks = StateBytes(self.spec.seed, self.spec.total_size).chunks()
            for number, chunk in enumerate(chunks):
                go_on()
                if self._is_ending:
                    raise Stopped("the run ends")
                memory.write(number * CHUNK, chunk)
        except BaseException:
            memory.close()
            raise
        return memory

    def open_data_fd(self, is_saving: bool) -> tuple[int, int | None]:
        """Open a new data_fd; returns our descriptor, and the number that it must get in QEMU (None
        for any).
        """
        is_memfd = uses_memfd(self.spec, is_saving)
        saving, loading = self.function.saving, self.function.loading
        self.close_data_fd()
        number = None
        if not is_memfd:
            memory = self._opened = Memfd("data_fd")  # a placeholder that no call reaches
            number = self._numbers[self._turn % _FDS_PER_DEVICE]
            self._turn += 1
            self._call = "read" if is_saving else "write"
            self.disabled.pop(number, None)
        elif is_saving:
            memory = self._opened = self._prepared or self._generated()
            self._prepared = None
            if saving is not None:
                memory.write(saving.state.head_at, saving.state.head)
        else:
            if self._loaded is not None:
                self._loaded.close()
            memory = self._loaded = Memfd(f"data_fd-{self.spec.id}")
            if loading is not None:
                loading.memory = memory
        self.observe(
            DataFd(
                direction="saving" if is_saving else "resuming",
                mode="memfd" if is_memfd else "supervised",
            )
        )
        return memory.fd, number

    def close_data_fd(self) -> None:
        """Disable the data_fd; a loaded state can be read until the next one is opened."""
        if self.data_fd in self._numbers:
            self.disabled[self.data_fd] = self._call
        self.data_fd = -1
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def transfer(self, call: str) -> Saving | Loading | None:
        """The transfer that a ``read`` or ``write`` belongs to."""
        return self.function.saving if call == "read" else self.function.loading

    def close(self) -> None:
        """Free all memory."""
        for memory in (self.regions, self._opened, self._prepared, self._loaded):
            if memory is not None:
                memory.close()
