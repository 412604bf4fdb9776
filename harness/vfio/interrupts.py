"""Interrupts of the device: VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS, and what fires them.

Refused is what vfio_set_irqs_validate_and_prepare() in drivers/vfio/vfio_main.c of Linux refuses.
"""

import errno
from collections.abc import Callable

from harness.history.device import Armed, Fired
from harness.history.records import Body
from harness.scenario.interrupts import At, Interrupts
from harness.vfio import uapi
from harness.vfio.answer import DONE, Answer, TargetMemory, refuse
from harness.vfio.uapi import Irq

_FD_SIZE = 4


class Lines:
    """The interrupts of one device.

    An interrupt of a vector that is not armed is pending in the device until it is.

    :ivar armed: vector -> number of its eventfd in QEMU
    :param show: show the pending vectors to who reads the device's own pending bits
    """

    def __init__(
        self,
        spec: Interrupts,
        observe: Callable[[Body], None],
        show: Callable[[set[int]], None],
    ) -> None:
        self._spec = spec
        self._observe = observe
        self._show = show
        self._fired: set[int] = set()
        self._pending: set[int] = set()
        self.armed: dict[int, int] = {}

    def info(self, address: int, memory: TargetMemory) -> Answer:
        """VFIO_DEVICE_GET_IRQ_INFO."""
        layout = uapi.IRQ_INFO
        argsz, _, index, _ = layout.unpack(memory.read(address, layout.size))
        # vfio-pci-core has the error interrupt for PCI Express functions only.
        if argsz < layout.size or index >= uapi.NUM_IRQS or index == Irq.ERR:
            return refuse(errno.EINVAL)
        # MSI-X can be resized (vfio_pci_ioctl_get_irq_info(), Linux 6.5).
        is_fixed = index != Irq.MSIX or not self._spec.is_used
        flags = uapi.IRQ_EVENTFD | uapi.IRQ_NORESIZE * is_fixed
        return Answer(
            writes=((address, layout.pack(layout.size, flags, index, self._count(index))),)
        )

    def _count(self, index: int) -> int:
        return {Irq.REQ: 1, Irq.MSIX: self._spec.vectors}.get(Irq(index), 0)

    def arm(self, address: int, memory: TargetMemory) -> Answer:
        """VFIO_DEVICE_SET_IRQS."""
        if not self._spec.is_used:
            return DONE
        layout = uapi.IRQ_SET
        argsz, flags, index, start, count = layout.unpack(memory.read(address, layout.size))
        if index != Irq.MSIX:
            return DONE
        kind, action = flags & uapi.IRQ_SET_DATA, flags & uapi.IRQ_SET_ACTION
        size = count * _FD_SIZE if kind == uapi.IRQ_SET_DATA_EVENTFD else 0
        is_off = kind == uapi.IRQ_SET_DATA_NONE and not count
        if (
            action != uapi.IRQ_SET_ACTION_TRIGGER
            or not (is_off or kind == uapi.IRQ_SET_DATA_EVENTFD)
            or argsz < layout.size + size
            or start + count > self._spec.vectors
        ):
            return refuse(errno.EINVAL)
        if is_off:
            self._note({})
            return DONE
        fds = memory.read(address + layout.size, size)
        given = {
            start + number: int.from_bytes(fds[at : at + _FD_SIZE], "little", signed=True)
            for number, at in enumerate(range(0, size, _FD_SIZE))
        }
        if error := self._spec.arm_errno:
            self._observe(Armed(vectors=sorted(self.armed), errno=error))
            return refuse(error)
        merged = {**self.armed, **given}
        self._note({vector: fd for vector, fd in merged.items() if fd >= 0})
        late = self._pending & set(self.armed)
        self._pending -= late
        if late:
            self._show(self._pending)
        signals = tuple(self.armed[vector] for vector in sorted(late))
        return Answer(signals=signals)

    def _note(self, armed: dict[int, int]) -> None:
        self.armed = armed
        self._observe(Armed(vectors=sorted(armed), errno=0))

    def fire(self, at: At) -> tuple[int, ...]:
        """Fire what is planned for then, each vector once; returns the eventfds that are to be
        signalled, by their numbers in QEMU.
        """
        found = []
        for vector in self._spec.fires_at(at):
            if vector in self._fired:
                continue
            self._fired.add(vector)
            fd = self.armed.get(vector)
            self._observe(Fired(vector=vector, at=at.value, armed=fd is not None))
            if fd is not None:
                found.append(fd)
            else:
                self._pending.add(vector)
                self._show(self._pending)
        return tuple(found)
