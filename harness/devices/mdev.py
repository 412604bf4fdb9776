"""Mediated devices of the kernel, for the QEMU of one side."""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence

from harness.devices.ledger import Ledger
from harness.devices.mdev_bus import MdevBus, MdevType
from harness.devices.vfio_pci import device_option, slots_for
from harness.errors import HarnessError, PrerequisiteMissing
from harness.history import Kind, Record, Side
from harness.scenario import MdevDevice, OnOffAuto

MTTY_MIGRATES = (6, 7)
"""Version of the first kernel whose mtty has migration."""


class MdevDevices:
    """The devices of ``specs`` in the QEMU of ``side``: made now, removed by ``close()``.

    What an earlier run has left that was killed is removed first.

    :param slots: their PCI slots; none: from the first on
    :param release: the kernel's, as ``uname -r`` says it; empty: ask
    :ivar uuids: one for each spec, in order
    :raise PrerequisiteMissing: module, parent, type or rights are missing, or the type is
        full; then nothing is left of those that were made
    """

    def __init__(
        self,
        side: Side,
        specs: Sequence[MdevDevice],
        record: Callable[[Record], None],
        bus: MdevBus | None = None,
        ledger: Ledger | None = None,
        slots: Sequence[int] = (),
        release: str = "",
    ) -> None:
        self._release = release or os.uname().release
        self.uuids: list[str] = []
        self._left: list[str] = []
        self._side = side
        self._specs = tuple(specs)
        self._slots = slots_for(specs, slots)
        self._record = record
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
        self._note(spec, name, kind)

    def _note(self, spec: MdevDevice, name: str, kind: MdevType) -> None:
        args = {"uuid": name, "type": kind.name, "parent": kind.parent}
        args["group"] = str(self._bus.group(name))
        self._record(Record(time.time_ns(), self._side, Kind.DEVICE, "created", args, spec.id))

    def objects(self) -> list[str]:
        """None: each device is opened by its path."""
        return []

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""
        return {
            spec.id: device_option(
                spec,
                slot,
                {
                    "sysfsdev": str(self._bus.device(name)),
                    # Else QEMU asks the device what it has written by DMA.  mtty, which does
                    # none, keeps no such log, and the migration fails: Operation not supported.
                    "x-device-dirty-page-tracking": False,
                },
            )
            for spec, name, slot in zip(self._specs, self.uuids, self._slots, strict=True)
        }

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids.

        The UUID, last part of ``sysfsdev`` (seen with 10.0 and 11.1), or the id itself.
        """
        ids = [spec.id for spec in self._specs]
        return dict(zip([*self.uuids, *ids], [*ids, *ids], strict=True))

    def close(self) -> None:
        """After QEMU's end: remove the devices.  Called again it does nothing.

        :raise HarnessError: the first of those that could not be removed; they stay written
            down
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
    """samples/vfio-mdev/mtty.c of the kernel has had migration since then."""
    found = re.match(r"(\d+)\.(\d+)", release)
    is_old = found is not None and (int(found[1]), int(found[2])) < MTTY_MIGRATES
    if is_old and spec.type.startswith("mtty-") and spec.enable_migration is not OnOffAuto.OFF:
        first = ".".join(map(str, MTTY_MIGRATES))
        raise PrerequisiteMissing(
            f"{spec.id}: {spec.type} of Linux {release} cannot migrate: Linux {first} or newer can"
        )


def remove_abandoned(bus: MdevBus, ledger: Ledger) -> list[str]:
    """Remove the devices whose run was killed, and only those; their UUIDs."""
    names = ledger.abandoned()
    for name in names:
        bus.remove(name)
        ledger.release(name)
    return names
