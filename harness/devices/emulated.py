"""Devices emulated by the harness, for the QEMU of one side."""

from collections.abc import Callable, Sequence

from harness.history import Record, Side
from harness.scenario import EmulatedDevice
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.supervisor import Supervisor

FIRST_SLOT = 2
"""PCI slot of the first device on bus 0; 0 and 31 are taken by q35, 1 by pc."""


class EmulatedDevices:
    """The devices of ``specs`` in the QEMU of ``side``.

    :ivar supervisor: launches that QEMU
    :ivar devices: one for each spec, in order
    """

    def __init__(
        self, side: Side, specs: Sequence[EmulatedDevice], record: Callable[[Record], None]
    ) -> None:
        self.supervisor = Supervisor(side, record)
        self.devices = [
            AttachedDevice(spec, side, self.supervisor.iommu, index, record)
            for index, spec in enumerate(specs)
        ]
        for device in self.devices:
            self.supervisor.attach(device)

    def options(self) -> list[str]:
        """QEMU options that attach the devices."""
        if not self.devices:
            return []
        # Both the iommufd and the device come as descriptors: no path under /dev is opened.
        options = ["-object", f"iommufd,id=iommufd0,fd={self.supervisor.iommufd.fd}"]
        for index, device in enumerate(self.devices):
            spec = device.spec
            properties: dict[str, str | int | bool] = {
                "id": spec.id,
                "iommufd": "iommufd0",
                "fd": device.fd,
                "addr": f"{slot_of(index):#x}",  # the same on both sides: it names the state
                "enable-migration": spec.enable_migration.value,
                "migration-events": "on",
            }
            if spec.multifd_transfer is not None:
                properties["x-migration-multifd-transfer"] = spec.multifd_transfer.value
            properties |= spec.properties
            options += ["-device", ",".join(("vfio-pci", *map(_property, properties.items())))]
        return options

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids.

        ``VFIO_FDn`` up to 10.x, the id itself from 11.0 on (``vfio_device_get_name()``).
        """
        names = {f"VFIO_FD{device.fd}": device.spec.id for device in self.devices}
        return names | {device.spec.id: device.spec.id for device in self.devices}

    def prepare(self) -> None:
        """Generate the states ahead of the migration; may take a while, blocks."""
        for device in self.devices:
            device.prepare()

    def observe_config(self) -> None:
        """Record the registers that each device itself has now."""
        for device in self.devices:
            device.observe("config", device.function.config())

    def report(self) -> None:
        """Record what each device held out or got, byte by byte; takes a while, blocks."""
        for device in self.devices:
            saving, loading = device.function.saving, device.function.loading
            if saving is not None:
                device.observe("sent", saving.report())
            if loading is not None:
                device.observe("received", loading.report())

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


def slot_of(index: int) -> int:
    """PCI slot of the device that is ``index``-th of all."""
    return FIRST_SLOT + index


def _property(item: tuple[str, str | int | bool]) -> str:
    name, value = item
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return f"{name}={text.replace(',', ',,')}"
