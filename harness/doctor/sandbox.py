"""Checks of what a container or a security setting may forbid: seccomp, a child's memory."""

import fcntl
import os
import select
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path

from harness.doctor.check import Check, State
from harness.errors import HarnessError, PrerequisiteMissing
from harness.supervisor import seccomp
from harness.supervisor.memory import Memfd, ProcessMemory
from harness.vfio.uapi import IOCTL_TYPE, IOCTL_TYPE_SHIFT, Vfio

_WAIT_S = 10.0


def notification() -> Check:
    """Whether seccomp user notification works (Linux 5.9, and allowed here)."""
    what = "seccomp user notification"
    try:
        _try_notification()
    except (HarnessError, OSError, TimeoutError) as error:
        fix = "in a container: docker (or podman) run --security-opt seccomp=unconfined"
        return Check(what, State.MISSING, f"does not work: {error}", fix)
    return Check(what, State.OK, "an ioctl was caught and answered, and a descriptor installed")


def _try_notification() -> None:
    """Catch one VFIO ioctl of a thread, install a descriptor for it, and answer it."""
    listening: Future[int] = Future()
    answered: Future[int] = Future()
    memory = Memfd("doctor")

    def call() -> None:
        try:
            listening.set_result(seccomp.install_filter())
        except BaseException as error:  # noqa: BLE001 - the other thread raises it
            listening.set_exception(error)
            return
        try:
            answered.set_result(fcntl.ioctl(memory.fd, number, 0))
        except OSError as error:
            answered.set_exception(error)

    number = IOCTL_TYPE << IOCTL_TYPE_SHIFT | Vfio.DEVICE_RESET
    threading.Thread(target=call, name="doctor", daemon=True).start()
    listener = listening.result(_WAIT_S)
    try:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        notification = seccomp.receive(listener) if poll.poll(_WAIT_S * 1000) else None
        if notification is None:
            raise PrerequisiteMissing("the filter was installed, but catches no ioctl")
        os.close(seccomp.add_fd(listener, notification.cookie, memory.fd, None))
        seccomp.send(listener, notification.cookie, 0, 0)
        answered.result(_WAIT_S)
    finally:
        os.close(listener)  # a call that is still caught fails by it
        memory.close()


def memory_of_a_child() -> Check:
    """Whether a child's memory can be read, as the supervisor reads QEMU's."""
    what = "memory of a child"
    memory = ProcessMemory()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        try:
            mapped = Path(f"/proc/{child.pid}/maps").read_text().splitlines()[0]
            memory.attach(child.pid)
            memory.read(int(mapped.split("-")[0], 16), 16)
        except (OSError, IndexError) as error:
            fix = "sysctl kernel.yama.ptrace_scope=1 (or 0); in a container: --cap-add SYS_PTRACE"
            return Check(what, State.MISSING, f"cannot read /proc/PID/mem: {error}", fix)
        finally:
            memory.close()
    return Check(what, State.OK, "/proc/PID/mem is readable")
