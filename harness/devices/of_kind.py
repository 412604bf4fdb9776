"""The devices of one kind in one QEMU: what ``harness.devices`` has a class for of each kind."""

import abc
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

from harness.devices.vfio_pci import slot_of
from harness.history import Record, Side
from harness.history.records import Body
from harness.scenario import Device
from harness.scenario.interrupts import At
from harness.supervisor.spawn import Launcher
from harness.vfio.state_bytes import GoOn, to_the_end


class Target(msgspec.Struct, frozen=True):
    """The QEMU that devices are attached to."""

    side: Side
    devices: Sequence[Device]
    """All devices of the scenario, of any kind: their order decides on their PCI slots."""
    record: Callable[[Record], None]
    ram_bytes: int = 0
    """The guest's RAM, which VFIO pins for a device that does DMA itself."""
    taken: Sequence[str] = ()
    """Addresses (``DevicesOfKind.addresses``) that the other QEMU has."""
    watches_sends: bool = False
    """Whether what it sends with MSG_ZEROCOPY is counted, by a kind that can."""

    def observe(self, device: Device, args: Body) -> None:
        """Record ``args`` (``harness.history.device``) of ``device``."""
        self.record(Record.of(time.time_ns(), self.side, args, device.id))

    def slot(self, device: Device) -> int:
        """PCI slot of ``device`` in the guest."""
        return slot_of([each.id for each in self.devices].index(device.id))

    def address(self, device: Device) -> str:
        """The one of ``device.addresses`` for this QEMU; empty if it gets none.

        The source gets the first, the destination the second.  In a migration back, the new
        destination gets the one that the first source had.
        """
        source, destination = (*device.addresses, "", "")[:2]
        ours, theirs = source, destination
        if self.side is Side.DESTINATION:
            ours, theirs = destination, source
        return theirs if ours in self.taken else ours


class DevicesOfKind(abc.ABC):
    """The devices of one kind in one QEMU; they are there from now on.

    :param specs: those of ``target.devices`` that are of this kind
    :raise PrerequisiteMissing: one cannot be attached; the others are undone
    """

    @abc.abstractmethod
    def __init__(self, specs: Sequence[Any], target: Target) -> None: ...

    @abc.abstractmethod
    def options(self) -> dict[str, list[str]]:
        """Id of each device -> the QEMU options that attach it."""

    @abc.abstractmethod
    def trace_names(self) -> dict[str, str]:
        """Names that QEMU's trace may give the devices -> their ids.

        ``vbasedev->name`` of hw/vfio: how QEMU was given the device.  The id, which newer ones
        use, need not be among them.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """After QEMU's end: undo what was done.  Called again it does nothing.

        :raise HarnessError: something is left behind
        """

    # -- for some kinds only

    @classmethod
    def is_missing_here(cls) -> bool:
        """Whether this machine has no device of this kind at all."""
        return False

    def objects(self) -> list[str]:
        """QEMU options that come before those of the devices."""
        return []

    @property
    def addresses(self) -> Sequence[str]:
        """Addresses that this QEMU has, if only one QEMU at a time can have the device."""
        return ()

    @property
    def launch(self) -> Launcher | None:
        """What must start QEMU; None if any launcher may."""
        return None

    @property
    def failure(self) -> BaseException | None:
        """Why the devices were lost although QEMU had not ended; None if they were not."""
        return None

    @property
    def thread_ids(self) -> Sequence[int]:
        """Of the harness's threads that serve the devices."""
        return ()

    @property
    def is_waiting(self) -> bool:
        """Whether a device lets QEMU wait for a time, on purpose."""
        return False

    def fill_contents(self) -> None:
        """Give the source's devices the registers and memory that a driver would."""

    def fire(self, at: At) -> None:
        """Let the devices fire the interrupts that are planned for then.

        :raise OSError: QEMU is gone
        """

    def expect_from(self, source: Self) -> None:
        """Compare what each device gets with the state that its peer in ``source`` gives."""

    def behave(self, specs: Sequence[Device]) -> None:
        """Do as ``specs`` say from now on: the QEMU is the source of another migration."""

    def expect_generated(self) -> None:
        """Compare what each device gets with the state that a source device has from the start:
        the source is a capture.
        """

    def prepare(self, go_on: GoOn = to_the_end) -> None:
        """Do ahead of the migration what may take a while; blocks.

        :raise Stopped: by ``go_on``
        """

    def pause(self, is_paused: bool) -> None:
        """Answer no call of QEMU's, and let none wait for an answer, until called with False."""

    def observe_config(self) -> None:
        """Record the registers that each device itself has now."""

    def observe_calls(self) -> None:
        """Record the calls that a driver has logged since the last time."""

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device gave or got, byte by byte; may take a while, blocks.

        What ``go_on`` stops is recorded as not compared.
        """
