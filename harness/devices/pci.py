"""PCI functions of the machine, passed through to the QEMU of one side."""

import contextlib
from collections.abc import Sequence

import msgspec

from harness.devices import in_use, memlock
from harness.devices.abilities import Ask, of_function
from harness.devices.ledger import Ledger
from harness.devices.of_kind import DevicesOfKind, Target
from harness.devices.pci_bus import VFIO_PCI, PciBus, PciFunction
from harness.devices.vfio_pci import device_option
from harness.errors import HarnessError, PrerequisiteMissing
from harness.history.device import Abilities, Bound
from harness.scenario import OnOffAuto, PciDevice

IOMMUFD = "iommufd-pci"
_RELEASE_TIMEOUT_S = 10.0  # until a QEMU whose harness was killed has ended


class _Attached(msgspec.Struct, frozen=True):
    spec: PciDevice
    function: PciFunction
    has_iommufd: bool


class PciDevices(DevicesOfKind):
    """The devices of ``specs`` in the QEMU of ``target``: bound to a driver of VFIO from now
    on.  ``close()`` gives each back to the driver that it had before.

    Devices of an earlier run that was killed are given back first.

    :raise PrerequisiteMissing: device, driver, IOMMU, permission or memory is missing, or the
        device is in use; all are given back
    """

    def __init__(
        self,
        specs: Sequence[PciDevice],
        target: Target,
        bus: PciBus | None = None,
        ledger: Ledger | None = None,
        ask: Ask = of_function,
    ) -> None:
        self._attached: list[_Attached] = []
        self._left: list[PciFunction] = []
        self._target = target
        self._bus = bus if bus is not None else PciBus()
        self._ledger = ledger if ledger is not None else Ledger("pci")
        self._ask = ask
        if self._ledger.is_writable:
            give_back_abandoned(self._bus, self._ledger)
        memlock.require(target.ram_bytes)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for spec in specs:
                address = target.address(spec)
                if address:
                    try:
                        self._attach(spec, address)
                    except PrerequisiteMissing as error:
                        raise PrerequisiteMissing(f"{spec.id}: {error}") from error
            undo.pop_all()

    def _attach(self, spec: PciDevice, address: str) -> None:
        found = self._bus.function(address)
        driver = self._driver_for(spec, found)
        self._bus.require_driver(driver)
        self._bus.require_group(found)
        self._require_own_group(spec, found)
        if found.driver != driver:
            use = in_use.use_of(self._bus.device(address))
            if use:
                raise PrerequisiteMissing(f"{address} is in use: {use}")
            self._ledger.claim(address, {"driver": found.driver, "override": found.override})
            self._left.append(found)
            self._bus.bind(found, driver)
        self._set_up(spec, address)
        has_iommufd = self._has_iommufd(spec, found)
        able = self._ask(self._bus, found, has_iommufd)
        if able.stop_copy and not spec.destination:
            raise PrerequisiteMissing(
                f"{address} can migrate, so the destination needs a function as well: set "
                "destination in the scenario, or use --device pci:SOURCE,DESTINATION"
            )
        self._attached.append(_Attached(spec, found, has_iommufd))
        self._target.observe(
            spec,
            Bound(
                address=address,
                kind=found.kind,
                driver=driver,
                found_with=found.driver,
                group=found.group,
                iommufd=has_iommufd,
            ),
        )
        self._target.observe(spec, Abilities(**msgspec.structs.asdict(able)))

    def _set_up(self, spec: PciDevice, address: str) -> None:
        """Do what is needed once the function is bound and before it is opened.

        :raise PrerequisiteMissing: that cannot be done
        """

    def _driver_for(self, spec: PciDevice, found: PciFunction) -> str:
        if spec.driver:
            return spec.driver
        return found.driver if found.driver in self._bus.vfio_drivers() else VFIO_PCI

    def _require_own_group(self, spec: PciDevice, found: PciFunction) -> None:
        """Only one process at a time can open a group."""
        for address in spec.addresses:
            if address != found.address:
                other = self._bus.function(address)
                if other.group == found.group:
                    raise PrerequisiteMissing(
                        f"{found.address} and {address} share IOMMU group {found.group}: "
                        "source and destination each need a group of their own"
                    )

    def _has_iommufd(self, spec: PciDevice, found: PciFunction) -> bool:
        own = self._bus.device_file(found)
        if spec.iommufd is OnOffAuto.ON and own is None:
            raise PrerequisiteMissing(
                f"{found.address} has no device file for iommufd: use Linux 6.6 or newer with "
                "CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (modprobe iommufd), "
                'or set "iommufd": "auto"'
            )
        return own is not None and spec.iommufd is not OnOffAuto.OFF

    @property
    def addresses(self) -> list[str]:
        """Those that are attached."""
        return [each.function.address for each in self._attached]

    def objects(self) -> list[str]:
        """The iommufd, if a device is opened by it."""
        if any(each.has_iommufd for each in self._attached):
            return ["-object", f"iommufd,id={IOMMUFD}"]
        return []

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""
        found: dict[str, list[str]] = {}
        for each in self._attached:
            backend = {"iommufd": IOMMUFD} if each.has_iommufd else {}
            properties = {"host": each.function.address, **backend}
            slot = self._target.slot(each.spec)
            found[each.spec.id] = device_option(each.spec, slot, properties)
        return found

    def trace_names(self) -> dict[str, str]:
        """The host's address."""
        return {each.function.address: each.spec.id for each in self._attached}

    def close(self) -> None:
        """After QEMU's end: give the devices back.  Called again it does nothing.

        :raise HarnessError: the first one that could not be; the ledger keeps those
        """
        errors: list[HarnessError] = []
        for found in reversed(self._left):
            try:
                self._bus.restore(found.address, found.driver, found.override)
            except HarnessError as error:
                errors.append(error)
            else:
                self._ledger.release(found.address)
        self._left.clear()
        if errors:
            raise errors[0]


def give_back_abandoned(bus: PciBus, ledger: Ledger) -> list[str]:
    """Give back the devices of runs that were killed, and only those; their addresses.

    :raise HarnessError: a process still has one open, or the kernel refuses
    """
    with ledger.alone():
        names = ledger.abandoned()
        for name in names:
            note = ledger.note(name)
            if bus.device(name).exists():
                _wait_until_free(bus, bus.function(name))
                bus.restore(name, note["driver"], note["override"])
            ledger.release(name)
    return names


def _wait_until_free(bus: PciBus, function: PciFunction) -> None:
    """To unbind a device from VFIO, the kernel waits until no process has it open."""
    files = [bus.group_file(function), bus.device_file(function)]
    left = in_use.wait_for_openers([file for file in files if file], _RELEASE_TIMEOUT_S)
    if left:
        raise HarnessError(
            f"{function.address}, left by a run that was killed, is in use: "
            f"end {', '.join(map(str, left))}"
        )
