"""The thread that launches one QEMU under the filter and answers its calls.

The filter is installed on this thread and inherited by its child, so the listener need not be
passed between processes.  The parent-death signal of the child is also bound to this thread: when
the thread or the harness ends, QEMU does.
"""

import contextlib
import dataclasses
import errno
import heapq
import os
import select
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from harness.errors import NotifError
from harness.history import Record, Side
from harness.history.device import DmaPages, Ioctl, Read, UnknownIoctl, Write
from harness.history.process import ZeroCopySends
from harness.scenario.interrupts import At
from harness.supervisor import eventfd, seccomp
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.memory import Memfd, ProcessMemory
from harness.supervisor.seccomp import Notification
from harness.supervisor.spawn import Spawn
from harness.vfio import uapi
from harness.vfio.answer import UNKNOWN, Answer
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import Stopped
from harness.vfio.transfer import Loading, Saving
from harness.vfio.uapi import Iommufd, Vfio

_CALLS: Mapping[str, type[Read | Write]] = {"read": Read, "write": Write}
_Finish = Callable[[], None]
_JOIN_S = 5.0  # from QEMU's end to the end of the thread that serves it


def ioctl_name(number: int) -> str:
    """The ioctl's name in the uAPI headers, or its number."""
    for names, prefix in ((Vfio, "VFIO_"), (Iommufd, "IOMMU_")):
        if number in names._value2member_map_:
            return prefix + names(number).name
    return hex(number)


class Supervisor:
    """Launches and serves the QEMU of one side.

    Construct it, ``launch`` once, and ``close`` after QEMU's end.  ``launch`` is called from any
    thread and returns when the process was started.

    :param watches_sends: count what QEMU sends with MSG_ZEROCOPY
    :param iommu: what answers on the iommufd; None for one of its own
    """

    def __init__(
        self,
        side: Side,
        record: Callable[[Record], None],
        *,
        watches_sends: bool = False,
        iommu: Iommu | None = None,
    ) -> None:
        self.side = side
        self.devices: list[AttachedDevice] = []
        self.iommufd = Memfd(f"iommufd-{side}")
        self.failure: BaseException | None = None
        """Why the supervisor ended before QEMU; the run is then lost."""
        self._iommu = iommu or Iommu()
        self._record = record
        self._zero_copy: Counter[int] | None = Counter() if watches_sends else None
        """Calls of sendmsg with MSG_ZEROCOPY, by socket."""
        self._memory = ProcessMemory()
        self._listener = -1
        self._pid = 0
        self._due: list[tuple[float, int, _Finish]] = []
        self._is_paused = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._order = 0
        self._thread: threading.Thread | None = None

    def attach(self, device: AttachedDevice) -> None:
        """Serve ``device`` too; call it before ``launch``."""
        self.devices.append(device)

    @property
    def iommu(self) -> Iommu:
        """What answers on the iommufd, which the devices share."""
        return self._iommu

    @property
    def pid(self) -> int:
        """Of QEMU; 0 before the launch."""
        return self._pid

    @property
    def thread_id(self) -> int:
        """Of its thread; 0 before the launch."""
        return (self._thread and self._thread.native_id) or 0

    @property
    def is_waiting(self) -> bool:
        """Whether a call is answered after a delay, which is not over; from any thread."""
        return bool(self._due)

    def pause(self, is_paused: bool) -> None:
        """Answer delayed calls at once, and receive no more until called with False; from any
        thread.

        Only SIGKILL ends the wait of a call that was received
        (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV), so that a debugger could not stop its thread.  A
        call that was not received can be interrupted, and is then repeated.
        """
        self._is_paused = is_paused
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def observe_dma(self) -> None:
        """Record what the pages that the devices write have now in QEMU's RAM; from any thread."""
        writing = [device for device in self.devices if device.spec.dma.pages]
        if not writing:
            return
        memory = ProcessMemory()
        try:
            memory.attach(self._pid)
            for device in writing:
                device.observe(DmaPages(device.function.dma.pages(memory)))
        except OSError:
            pass  # QEMU is gone: nothing of it can be compared
        finally:
            memory.close()

    def fire(self, at: At) -> None:
        """Let the devices fire what is planned for then; from any thread, while QEMU calls none.

        :raise OSError: QEMU is gone
        """
        for device in self.devices:
            for interrupt in device.function.lines.fire(at):
                eventfd.signal(self._pid, interrupt)

    # -- launching -------------------------------------------------------------------

    def launch(self, spawn: Spawn) -> subprocess.Popen[bytes]:
        """Start ``spawn`` under the filter; it inherits the device fds and the iommufd, too.

        A caller in the main thread must hold signals back (``interrupt.held``): if one interrupted
        it, the process that was started would be unknown.

        :raise PrerequisiteMissing: seccomp user notification is not allowed here
        :raise OSError: the program cannot be executed
        """
        outcome: Future[subprocess.Popen[bytes]] = Future()

        def run() -> None:
            try:
                self._listener = seccomp.install_filter(self._zero_copy is not None)
                fds = (*spawn.pass_fds, self.iommufd.fd, *(d.fd for d in self.devices))
                process = dataclasses.replace(spawn, pass_fds=fds).start()
                self._pid = process.pid
                pidfd = os.pidfd_open(process.pid)  # before the caller can wait for it
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                if self._listener >= 0:
                    os.close(self._listener)
                outcome.set_exception(error)
                return
            outcome.set_result(process)
            self._serve(pidfd)

        self._thread = threading.Thread(target=run, name=f"supervisor-{self.side}", daemon=True)
        self._thread.start()
        return outcome.result()

    def close(self) -> None:
        """After QEMU's end: wait for the thread, record the tally of ioctls, free all memory.

        Called again, it does nothing.
        """
        for device in self.devices:
            device.end()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():  # QEMU has not ended, against the contract
                self.failure = self.failure or NotifError(f"it did not end within {_JOIN_S:g} s")
                return  # the memory is in use
        for device in self.devices:
            for name, count in sorted(device.ioctls.items()):
                device.observe(Ioctl(ioctl=name, count=count))
            device.ioctls.clear()
            device.close()
        self.iommufd.close()
        if self._zero_copy is not None and self._pid:
            sends = ZeroCopySends(count=self._zero_copy.total(), sockets=len(self._zero_copy))
            self._record(Record.of(time.time_ns(), self.side, sends))
            self._zero_copy = None
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    # -- serving ---------------------------------------------------------------------

    def _serve(self, pidfd: int) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        # The listener never hangs up: this thread has the filter too.
        poll.register(pidfd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                wait = max(0.0, self._due[0][0] - time.monotonic()) * 1000 if self._due else None
                ready = {fd for fd, _ in poll.poll(wait)}
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                    poll.modify(self._listener, 0 if self._is_paused else select.POLLIN)
                while self._due and (self._is_paused or self._due[0][0] <= time.monotonic()):
                    heapq.heappop(self._due)[2]()
                if pidfd in ready:
                    return
                if self._listener in ready and not self._is_paused:
                    notification = seccomp.receive(self._listener)
                    if notification is not None:
                        self._handle(notification)
        except Stopped:
            pass  # by close(): QEMU is gone
        except BaseException as error:  # noqa: BLE001 - the run is lost
            self.failure = error
        finally:
            # From here on the kernel answers ENOSYS: QEMU cannot continue unnoticed.
            os.close(self._listener)
            os.close(pidfd)
            self._memory.close()

    def _handle(self, notification: Notification) -> None:
        if notification.call == "sendmsg":
            if self._zero_copy is not None:
                self._zero_copy[notification.args[0] & 0xFFFFFFFF] += 1
            seccomp.pass_on(self._listener, notification.cookie)
            return
        if notification.call != "ioctl":
            self._handle_data(notification)
            return
        fd, number = notification.args[0] & 0xFFFFFFFF, notification.args[1] & 0xFF
        address = notification.args[2]
        device = next((d for d in self.devices if d.owns(fd)), None)
        if device is None and fd != self.iommufd.fd:
            seccomp.pass_on(self._listener, notification.cookie)  # a device of the kernel
            return
        try:
            self._memory.attach(notification.pid)
            if device is None:
                answer = self._iommu.ioctl(number, address, self._memory)
            elif fd == device.fd:
                answer = device.function.ioctl(number, address, self._memory)
            else:
                is_disabled = fd in device.disabled
                answer = device.function.data_fd_ioctl(number, address, self._memory, is_disabled)
            error = self._carry_out(notification, answer, device)
        except OSError as failure:  # QEMU gave a bad address, or is gone
            answer, error = UNKNOWN, failure.errno or errno.EFAULT
        if device is not None:
            device.ioctls[ioctl_name(number)] += 1
        if answer is UNKNOWN:
            self._record_unknown(number, address, error, device)
        seccomp.send(self._listener, notification.cookie, 0, error)

    def _record_unknown(
        self, number: int, address: int, error: int, device: AttachedDevice | None
    ) -> None:
        name = ioctl_name(number)
        if number == Vfio.DEVICE_FEATURE:
            with contextlib.suppress(OSError):  # a bad address: the feature is unknown
                header = self._memory.read(address, uapi.FEATURE_HEADER.size)
                name += f" {uapi.FEATURE_HEADER.unpack(header)[1] & uapi.FEATURE_MASK}"
        device_id = device.spec.id if device is not None else ""
        unknown = UnknownIoctl(number=name, errno=error)
        self._record(Record.of(time.time_ns(), self.side, unknown, device_id))

    def _carry_out(
        self, notification: Notification, answer: Answer, device: AttachedDevice | None
    ) -> int:
        """Write and install what the answer says; returns the errno of the call."""
        if not seccomp.is_valid(self._listener, notification.cookie):
            return errno.EINTR
        for address, data in answer.writes:
            self._memory.write(address, data)
        for interrupt in answer.signals:
            eventfd.signal(self._pid, interrupt)
        if device is not None and answer.drops_data_fd:
            device.close_data_fd()
        if answer.install is not None and answer.install.is_extra:
            extra = Memfd("data_fd")
            given = seccomp.add_fd(self._listener, notification.cookie, extra.fd, None)
            extra.close()
            number = given.to_bytes(4, "little", signed=True)
            self._memory.write(answer.install.address, number)
        elif device is not None and answer.install is not None:
            fd, wanted = device.open_data_fd(answer.install.is_saving)
            device.data_fd = seccomp.add_fd(self._listener, notification.cookie, fd, wanted)
            number = device.data_fd.to_bytes(4, "little", signed=True)
            self._memory.write(answer.install.address, number)
        return answer.errno

    # -- supervised data_fds ---------------------------------------------------------

    def _handle_data(self, notification: Notification) -> None:
        fd = notification.args[0] & 0xFFFFFFFF
        device = next((d for d in self.devices if fd == d.data_fd or fd in d.disabled), None)
        transfer = device.transfer(notification.call) if device is not None else None
        if (
            device is None
            or transfer is None
            or device.disabled.get(fd) not in (None, notification.call)
        ):
            seccomp.send(self._listener, notification.cookie, 0, errno.EBADF)
            return
        if fd in device.disabled:
            self._refuse(notification, device, transfer)
            return
        spec = device.spec
        delay_s = spec.save.read_delay_s if notification.call == "read" else spec.load.write_delay_s

        def finish() -> None:
            if fd in device.disabled:
                self._refuse(notification, device, transfer)
            else:
                self._move(notification, device, transfer)

        if delay_s > 0:
            self._order += 1
            heapq.heappush(self._due, (time.monotonic() + delay_s, self._order, finish))
        else:
            finish()

    def _refuse(
        self, notification: Notification, device: AttachedDevice, transfer: Saving | Loading
    ) -> None:
        """Answer ENODEV to a call on a data_fd that is disabled by a reset or an arc
        (mlx5vf_save_read(), mtty_save_read(), hisi_acc_vf_save_read() and their writes).
        """
        asked, t_ns = notification.args[2], time.time_ns()
        if seccomp.send(self._listener, notification.cookie, 0, errno.ENODEV):
            call = _CALLS[notification.call]
            refused = call(offset=transfer.position, asked=asked, got=0, errno=errno.ENODEV)
            device.observe(refused, t_ns=t_ns)

    def _move(
        self, notification: Notification, device: AttachedDevice, transfer: Saving | Loading
    ) -> None:
        _, address, asked = notification.args[:3]
        data = b""
        try:
            self._memory.attach(notification.pid)
            if not seccomp.is_valid(self._listener, notification.cookie):
                return
            if isinstance(transfer, Saving):
                share = transfer.read(asked)
                data = transfer.data(share)
                self._memory.write(address, data)
            else:
                share = transfer.write(asked)
                data = self._memory.read(address, share.count)
                share = transfer.deliver(share, data)
        except OSError as failure:
            seccomp.send(self._listener, notification.cookie, 0, failure.errno or errno.EFAULT)
            return
        t_ns = time.time_ns()  # before the answer: its effects must not be recorded as earlier
        if not seccomp.send(self._listener, notification.cookie, share.count, share.errno):
            return  # interrupted: nothing has happened, QEMU repeats the call
        if not share.errno:
            if isinstance(transfer, Saving):
                transfer.commit(share.count)
            else:
                transfer.commit(data)
        call = _CALLS[notification.call]
        done = call(offset=share.offset, asked=asked, got=share.count, errno=share.errno)
        device.observe(done, t_ns=t_ns)
