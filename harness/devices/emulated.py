"""Devices emulated by the harness, for the QEMU of one side."""

from collections.abc import Callable, Sequence

from harness.devices.vfio_pci import device_option, slots_for
from harness.history import Record, Side
from harness.scenario import EmulatedDevice
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.supervisor import Supervisor
from harness.vfio.state_bytes import GoOn, Stopped, to_the_end


class EmulatedDevices:
    """The devices of ``specs`` in the QEMU of ``side``.

    :param slots: their PCI slots; none: from the first on
    :ivar supervisor: launches that QEMU
    :ivar devices: one for each spec, in order
    """

    def __init__(
        self,
        side: Side,
        specs: Sequence[EmulatedDevice],
        record: Callable[[Record], None],
        slots: Sequence[int] = (),
    ) -> None:
        self._slots = slots_for(specs, slots)
        self.supervisor = Supervisor(side, record)
        self.devices = [
            AttachedDevice(spec, side, self.supervisor.iommu, index, record)
            for index, spec in enumerate(specs)
        ]
        for device in self.devices:
            self.supervisor.attach(device)

    def objects(self) -> list[str]:
        """The iommufd.  It comes as a descriptor, as the devices do: no path below /dev is
        opened.
        """
        if not self.devices:
            return []
        return ["-object", f"iommufd,id=iommufd0,fd={self.supervisor.iommufd.fd}"]

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""
        return {
            device.spec.id: device_option(
                device.spec, slot, {"iommufd": "iommufd0", "fd": device.fd}
            )
            for device, slot in zip(self.devices, self._slots, strict=True)
        }

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids.

        ``VFIO_FDn`` up to 10.x, the id itself from 11.0 on (``vfio_device_get_name()``).
        """
        names = {f"VFIO_FD{device.fd}": device.spec.id for device in self.devices}
        return names | {device.spec.id: device.spec.id for device in self.devices}

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Generate the states ahead of the migration; may take a while, blocks.

        :raise Stopped: by ``go_on``
        """
        for device in self.devices:
            device.prepare(go_on)

    def observe_config(self) -> None:
        """Record the registers that each device itself has now."""
        for device in self.devices:
            device.observe("config", device.function.config())

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device held out or got, byte by byte; takes a while, blocks.

        What ``go_on`` stops is recorded as not compared.
        """
        for device in self.devices:
            transfers = {"sent": device.function.saving, "received": device.function.loading}
            for name, transfer in transfers.items():
                if transfer is None:
                    continue
                try:
                    device.observe(name, transfer.report(go_on))
                except Stopped as stopped:
                    device.observe("not_compared", {"what": name, "why": str(stopped)})

    def close(self) -> None:
        """After QEMU's end: give up threads and memory."""
        self.supervisor.close()


def expect_from(source: EmulatedDevices, destination: EmulatedDevices) -> None:
    """Tell each destination device which source device's state it is to get."""
    for ours, theirs in zip(source.devices, destination.devices, strict=True):
        origin = ours.function
        theirs.function.expected = lambda origin=origin: (  # type: ignore[misc]
            origin.saving.state if origin.saving is not None else None
        )
