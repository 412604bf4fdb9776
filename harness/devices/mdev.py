"""Mediated devices (mdev) of the kernel, for the QEMU of one side."""

import contextlib
import os
import re
import uuid
from collections.abc import Sequence

from harness.devices.ledger import Ledger
from harness.devices.mdev_bus import MdevBus
from harness.devices.of_kind import DevicesOfKind, Target
from harness.devices.vfio_pci import device_option
from harness.errors import HarnessError, PrerequisiteMissing
from harness.history.device import Created
from harness.scenario import MdevDevice, OnOffAuto

MTTY_MIGRATES = (6, 7)
"""Version of the first kernel whose mtty has migration."""


class MdevDevices(DevicesOfKind):
    """The devices of ``specs`` in the QEMU of ``target``: made now, removed by ``close()``.

    Devices of an earlier run that was killed are removed first.

    :param release: the kernel's, as ``uname -r`` prints it; empty: this machine's
    :ivar uuids: one for each spec, in order
    :raise PrerequisiteMissing: module, parent, type or permission is missing, or the type has
        no instance left; those that were made are removed
    """

    def __init__(
        self,
        specs: Sequence[MdevDevice],
        target: Target,
        bus: MdevBus | None = None,
        ledger: Ledger | None = None,
        release: str = "",
    ) -> None:
        self._release = release or os.uname().release
        self.uuids: list[str] = []
        self._left: list[str] = []
        self._specs = tuple(specs)
        self._target = target
        self._bus = bus if bus is not None else MdevBus()
        self._ledger = ledger if ledger is not None else Ledger("mdev")
        remove_abandoned(self._bus, self._ledger)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for spec in self._specs:
                self._create(spec)
            undo.pop_all()

    def _create(self, spec: MdevDevice) -> None:
        _require_migration(spec, self._release)
        kind = self._bus.find(spec.type, spec.parent)
        name = str(uuid.uuid4())
        self._ledger.claim(name)
        self.uuids.append(name)
        self._left.append(name)
        try:
            self._bus.create(kind, name)
        except PrerequisiteMissing as error:
            raise PrerequisiteMissing(f"{spec.id}: {error}") from error
        group = str(self._bus.group(name))
        self._target.observe(
            spec, Created(uuid=name, type=kind.name, parent=kind.parent, group=group)
        )

    @classmethod
    def is_missing_here(cls) -> bool:
        """No loaded module offers mdev types."""
        return not MdevBus().types()

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""
        return {
            spec.id: device_option(
                spec,
                self._target.slot(spec),
                {
                    "sysfsdev": str(self._bus.device(name)),
                    # Else QEMU asks the device which pages it has written by DMA.  mtty does no
                    # DMA and keeps no log; the migration fails with "Operation not supported".
                    "x-device-dirty-page-tracking": False,
                },
            )
            for spec, name in zip(self._specs, self.uuids, strict=True)
        }

    def trace_names(self) -> dict[str, str]:
        """The UUID, last part of ``sysfsdev`` (seen with 10.0 and 11.1)."""
        return dict(zip(self.uuids, [spec.id for spec in self._specs], strict=True))

    def close(self) -> None:
        """After QEMU's end: remove the devices.  Called again it does nothing.

        :raise HarnessError: the first one that could not be removed; the ledger keeps those
        """
        errors: list[HarnessError] = []
        for name in self._left:
            try:
                self._bus.remove(name)
            except HarnessError as error:
                errors.append(error)
            else:
                self._ledger.release(name)
        self._left.clear()
        if errors:
            raise errors[0]


def _require_migration(spec: MdevDevice, release: str) -> None:
    """samples/vfio-mdev/mtty.c of the kernel migrates from ``MTTY_MIGRATES`` on."""
    found = re.match(r"(\d+)\.(\d+)", release)
    is_old = found is not None and (int(found[1]), int(found[2])) < MTTY_MIGRATES
    if is_old and spec.type.startswith("mtty-") and spec.enable_migration is not OnOffAuto.OFF:
        first = ".".join(map(str, MTTY_MIGRATES))
        raise PrerequisiteMissing(
            f"{spec.id}: {spec.type} of Linux {release} cannot migrate: Linux {first} or newer can"
        )


def remove_abandoned(bus: MdevBus, ledger: Ledger) -> list[str]:
    """Remove the devices of runs that were killed, and only those; their UUIDs."""
    names = ledger.abandoned()
    for name in names:
        bus.remove(name)
        ledger.release(name)
    return names
