"""All **attachments** of one side: devices of any kind, in the scenario's order.

To add a kind: give it a class with what ``Kind`` asks for, and make it in ``Attachments``.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from harness.devices.emulated import EmulatedDevices
from harness.devices.mdev import MdevDevices
from harness.devices.pci import PciDevices
from harness.devices.vfio_pci import slot_of
from harness.history import Record, Side
from harness.scenario import MIB, Device, EmulatedDevice, MdevDevice, PciDevice
from harness.vfio.state_bytes import GoOn, to_the_end
from harness.vm.process import Launcher, launch_plain


class Kind(Protocol):
    """The devices of one kind in one QEMU."""

    def objects(self) -> list[str]:
        """QEMU options that come before those of the devices."""

    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids."""

    def close(self) -> None:
        """After QEMU's end: undo what was done.  Called again it does nothing."""


class Attachments:
    """The devices of ``specs`` in the QEMU of ``side``; they are there from now on.

    :param ram_mib: the guest's RAM, which a device that is passed through needs pinned
    :param taken: addresses of PCI functions that the other QEMU has already
    :ivar emulated: those that live in the harness, which alone can be seen into
    :ivar addresses: of the PCI functions that are passed through
    :raise PrerequisiteMissing: one cannot be had; then nothing is left of the others
    """

    def __init__(
        self,
        side: Side,
        specs: Sequence[Device],
        record: Callable[[Record], None],
        *,
        ram_mib: int = 0,
        taken: Sequence[str] = (),
    ) -> None:
        self._ids = [spec.id for spec in specs]
        slots = {spec.id: slot_of(index) for index, spec in enumerate(specs)}
        emulated = [spec for spec in specs if isinstance(spec, EmulatedDevice)]
        mdev = [spec for spec in specs if isinstance(spec, MdevDevice)]
        pci = [spec for spec in specs if isinstance(spec, PciDevice)]
        self.addresses: list[str] = []
        with contextlib.ExitStack() as undo:
            self.emulated = EmulatedDevices(side, emulated, record, _slots(emulated, slots))
            undo.callback(self.emulated.close)
            self._kinds: list[Kind] = [self.emulated]
            if mdev:
                made = MdevDevices(side, mdev, record, slots=_slots(mdev, slots))
                undo.callback(made.close)
                self._kinds.append(made)
            if pci:
                passed = PciDevices(
                    side,
                    pci,
                    record,
                    slots=_slots(pci, slots),
                    ram_bytes=ram_mib * MIB,
                    taken=taken,
                )
                self.addresses = passed.addresses
                self._kinds.append(passed)
            undo.pop_all()

    def options(self) -> list[str]:
        """QEMU options that attach the devices, in the scenario's order."""
        found: dict[str, list[str]] = {}
        options = []
        for kind in self._kinds:
            options += kind.objects()
            found |= kind.options()
        return options + [option for name in self._ids for option in found.get(name, [])]

    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids."""
        return {name: each for kind in self._kinds for name, each in kind.trace_names().items()}

    @property
    def launch(self) -> Launcher:
        """What starts QEMU: under the filter where devices are emulated, else as it is."""
        return self.emulated.supervisor.launch if self.emulated.devices else launch_plain

    @property
    def failure(self) -> BaseException | None:
        """Why the devices were lost, though QEMU had not ended; the run is lost then."""
        return self.emulated.supervisor.failure

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Do ahead of the migration what may take a while; blocks.

        :raise Stopped: by ``go_on``
        """
        self.emulated.prepare(go_on)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """In this block a debugger can stop QEMU's threads: none waits for an answer of ours."""
        self.emulated.supervisor.pause(True)
        try:
            yield
        finally:
            self.emulated.supervisor.pause(False)

    def observe_config(self) -> None:
        """Record the registers that each device itself has now, where they can be seen."""
        self.emulated.observe_config()

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device held out or got, where that can be seen; blocks."""
        self.emulated.report(go_on)

    def close(self) -> None:
        """After QEMU's end: give up all devices.  Called again it does nothing.

        :raise HarnessError: one is left behind; the others are not
        """
        with contextlib.ExitStack() as stack:
            for kind in self._kinds:
                stack.callback(kind.close)


def _slots(specs: Sequence[Device], slots: Mapping[str, int]) -> list[int]:
    return [slots[spec.id] for spec in specs]
