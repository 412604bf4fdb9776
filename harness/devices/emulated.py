"""Devices emulated by the harness, for the QEMU of one side."""

import functools
from collections.abc import Sequence
from typing import Literal, Self

from harness.devices.of_kind import DevicesOfKind, Target
from harness.devices.vfio_pci import device_option
from harness.history import Side
from harness.history.device import NotCompared
from harness.scenario import Device, EmulatedDevice
from harness.scenario.interrupts import At
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.spawn import Launcher
from harness.supervisor.supervisor import Supervisor
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import GoOn, StateBytes, Stopped, to_the_end


class EmulatedDevices(DevicesOfKind):
    """The devices of ``specs`` in the QEMU of ``target``.

    :ivar supervisor: launches that QEMU
    :ivar devices: one for each spec, in order
    """

    def __init__(self, specs: Sequence[EmulatedDevice], target: Target) -> None:
        self._target = target
        self.supervisor = Supervisor(
            target.side, target.record, watches_sends=target.watches_sends, iommu=self._iommu()
        )
        self.devices: list[AttachedDevice] = []
        try:
            for index, spec in enumerate(specs):
                self.devices.append(self._attached(spec, index))
                self.supervisor.attach(self.devices[-1])
        except BaseException:
            self.close()
            raise

    def _iommu(self) -> Iommu | None:
        """What answers on the iommufd; None for the supervisor's own."""
        return None

    def _attached(self, spec: EmulatedDevice, index: int) -> AttachedDevice:
        return AttachedDevice(
            spec, self._target.side, self.supervisor.iommu, index, self._target.record
        )

    def objects(self) -> list[str]:
        """The iommufd, as a descriptor like the devices: QEMU opens no path below /dev."""
        return ["-object", f"iommufd,id=iommufd0,fd={self.supervisor.iommufd.fd}"]

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""
        return {
            device.spec.id: device_option(
                device.spec,
                self._target.slot(device.spec),
                {"iommufd": "iommufd0", "fd": device.fd},
            )
            for device in self.devices
        }

    def trace_names(self) -> dict[str, str]:
        """``VFIO_FDn`` up to 10.x, the id itself from 11.0 on (``vfio_device_get_name()``)."""
        return {f"VFIO_FD{device.fd}": device.spec.id for device in self.devices}

    @property
    def launch(self) -> Launcher | None:
        """The supervisor's: QEMU's calls must come to it."""
        return self.supervisor.launch

    @property
    def failure(self) -> BaseException | None:
        """Why the supervisor stopped serving QEMU."""
        return self.supervisor.failure

    @property
    def thread_ids(self) -> Sequence[int]:
        """The supervisor's."""
        return (self.supervisor.thread_id,)

    @property
    def is_waiting(self) -> bool:
        """Whether a read or a write is delayed."""
        return self.supervisor.is_waiting

    def fill_contents(self) -> None:
        """A pattern of each device's seed."""
        for device in self.devices:
            device.function.fill_contents()

    def fire(self, at: At) -> None:
        """Those of each device."""
        self.supervisor.fire(at)

    def behave(self, specs: Sequence[Device]) -> None:
        """As each device of the same id."""
        given = {spec.id: spec for spec in specs if isinstance(spec, EmulatedDevice)}
        for device in self.devices:
            if spec := given.get(device.spec.id):
                device.behave(spec)

    def expect_from(self, source: Self) -> None:
        """Compare what each device gets with the state that its peer in ``source`` gives."""
        given = {device.spec.id: device for device in source.devices}
        for theirs in self.devices:
            if ours := given.get(theirs.spec.id):
                theirs.function.expected = functools.partial(_state_given_by, ours)

    def expect_generated(self) -> None:
        """Compare what each device gets with the state of a source device of the same seed."""
        specs = [device.spec for device in self.devices]
        source = EmulatedDevices(specs, Target(Side.SOURCE, specs, lambda _record: None))
        source.fill_contents()
        for ours, theirs in zip(source.devices, self.devices, strict=True):
            if not theirs.spec.precopy_changes:  # when they came is not known
                theirs.function.expected = functools.partial(_itself, ours.function.whole_state())
        source.close()

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Generate the states ahead of the migration; may take a while, blocks.

        :raise Stopped: by ``go_on``
        """
        for device in self.devices:
            device.prepare(go_on)

    def pause(self, is_paused: bool) -> None:
        """Take no more calls of QEMU's meanwhile."""
        self.supervisor.pause(is_paused)

    def observe_config(self) -> None:
        """Record the registers that each device itself has now."""
        for device in self.devices:
            device.observe(device.function.config())
        self.supervisor.observe_dma()

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device gave or got, byte by byte; may take a while, blocks.

        What ``go_on`` stops is recorded as not compared.
        """
        for device in self.devices:
            for transfer in (device.function.saving, device.function.loading):
                if transfer is None:
                    continue
                try:
                    device.observe(transfer.report(go_on))
                except Stopped as stopped:
                    what: Literal["sent", "received"] = (
                        "sent" if transfer is device.function.saving else "received"
                    )
                    device.observe(NotCompared(what=what, why=str(stopped)))

    def close(self) -> None:
        """After QEMU's end: give up threads and memory."""
        self.supervisor.close()


def _state_given_by(device: AttachedDevice) -> StateBytes | None:
    saving = device.function.saving
    return saving.state if saving is not None else None


def _itself(state: StateBytes) -> StateBytes:
    return state
