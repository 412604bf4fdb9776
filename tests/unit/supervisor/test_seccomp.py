"""The filter in an interpreter of its own, and the notifications with the real kernel."""

import contextlib
import errno
import fcntl
import itertools
import os
import platform
import queue
import select
import signal
import struct
import threading
from typing import Any

import pytest

from harness.errors import PrerequisiteMissing
from harness.supervisor import seccomp
from harness.supervisor.seccomp import DATA_FD_BASE, DATA_FD_END, Notification

DEADLINE_S = 10.0
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
VFIO_IOCTL = 0x3B << 8 | 107
UPPER = 0xDEAD_BEEF << 32

# What <asm/unistd.h> and linux/audit.h of both machines have.
NUMBERS = {
    "x86_64": {"arch": 0xC000003E, "ioctl": 16, "read": 0, "write": 1, "sendmsg": 46},
    "aarch64": {"arch": 0xC00000B7, "ioctl": 29, "read": 63, "write": 64, "sendmsg": 211},
}
OTHER_CALLS = {"x86_64": (17, 18, 257, 0x4000_0010), "aarch64": (0, 1, 16, 67, 68)}


def run_filter(program, number, arch, args):
    """What the classic BPF ``program`` returns for one system call, as the kernel runs it."""
    data = struct.pack("<IIQ6Q", number, arch, 0x1234, *args)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        match operation:
            case 0x20:
                assert k % 4 == 0, "the kernel refuses unaligned loads"
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"no instruction that the filter needs: {operation:#x}")


@pytest.fixture(params=NUMBERS)
def machine(request, monkeypatch):
    """Name of the machine that the filter is made for."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "zero copy"])
def has_zero_copy(request):
    """Whether the filter traps ``sendmsg`` with MSG_ZEROCOPY, too."""
    return request.param


@pytest.fixture
def run(machine, has_zero_copy):
    """Run the machine's filter: name or number of the call, its first arguments."""
    program = seccomp.filter_program(seccomp.machine(), has_zero_copy)
    numbers = NUMBERS[machine]

    def do(call, *args, arch=None):
        number = numbers[call] if isinstance(call, str) else call
        padded = (*args, *(0,) * (6 - len(args)))
        return run_filter(program, number, arch or numbers["arch"], padded)

    return do


@pytest.mark.parametrize(
    "command", [VFIO_IOCTL, 0x3B80, 0x3B00, 0x3BFF, 0xC020_3B64, 0xFFFF_3BFF, UPPER | VFIO_IOCTL]
)
def test_ioctl_of_vfios_type_is_trapped(run, command):
    assert run("ioctl", 7, command) == USER_NOTIF


@pytest.mark.parametrize(
    "command", [0, 0x5401, 0x3A66, 0x3C66, 0x663B, 0x3B_0066, 0xAE80, 0x3B66 << 32, 0xBB66]
)
def test_ioctl_of_another_type_is_allowed(run, command):
    """Terminals, KVM and the rest go to the kernel."""
    assert run("ioctl", 7, command) == ALLOW


@pytest.mark.parametrize("call", ["read", "write"])
@pytest.mark.parametrize(
    ("fd", "action"),
    [
        (0, ALLOW),
        (DATA_FD_BASE - 1, ALLOW),
        (DATA_FD_BASE, USER_NOTIF),
        (DATA_FD_END - 1, USER_NOTIF),
        (DATA_FD_END, ALLOW),
        (0xFFFF_FFFF, ALLOW),
        (UPPER | DATA_FD_BASE, USER_NOTIF),  # an int: the kernel ignores the upper half
        (UPPER | (DATA_FD_BASE - 1), ALLOW),
        (DATA_FD_BASE << 32, ALLOW),
    ],
)
def test_only_read_and_write_of_data_fds_are_trapped(run, call, fd, action):
    assert run(call, fd, 0x3B66, 0x1000) == action


def test_data_fds_have_numbers_that_every_process_may_use():
    """RLIMIT_NOFILE is 1024 where nobody has raised it."""
    assert (DATA_FD_BASE, DATA_FD_END) == (900, 964)


def test_other_calls_are_allowed_whatever_their_arguments(machine, run):
    for call in OTHER_CALLS[machine]:
        assert run(call, DATA_FD_BASE, VFIO_IOCTL) == ALLOW


def test_calls_of_another_abi_are_allowed(machine, run):
    for arch in (0x4000_0003, NUMBERS["aarch64" if machine == "x86_64" else "x86_64"]["arch"]):
        for call in ("ioctl", "read", "write"):
            assert run(call, DATA_FD_BASE, VFIO_IOCTL, arch=arch) == ALLOW


def test_filter_decides_as_its_specification(machine, run):
    numbers = NUMBERS[machine]
    fds = (0, DATA_FD_BASE - 1, DATA_FD_BASE, DATA_FD_END - 1, DATA_FD_END, UPPER | DATA_FD_BASE)
    commands = (0, VFIO_IOCTL, 0x5401, UPPER | VFIO_IOCTL, DATA_FD_BASE)
    calls = (numbers["ioctl"], numbers["read"], numbers["write"], *OTHER_CALLS[machine])
    for call, fd, command in itertools.product(calls, fds, commands):
        is_vfio = call == numbers["ioctl"] and command >> 8 & 0xFF == 0x3B
        is_data = call in (numbers["read"], numbers["write"]) and (
            DATA_FD_BASE <= fd & 0xFFFF_FFFF < DATA_FD_END
        )
        assert (run(call, fd, command) == USER_NOTIF) == (is_vfio or is_data), (call, fd, command)


@pytest.mark.parametrize(
    ("flags", "is_watched"),
    [(0, False), (0x4000, False), (0x4000000, True), (0x4004000, True), (UPPER | 0x4000, False)],
)
def test_only_sendmsg_with_zero_copy_is_trapped_and_only_if_wanted(
    run, has_zero_copy, flags, is_watched
):
    action = USER_NOTIF if has_zero_copy and is_watched else ALLOW
    assert run("sendmsg", DATA_FD_BASE, VFIO_IOCTL, flags) == action
    assert run("ioctl", 7, 0x5401, 0x4000000) == ALLOW


def test_jumps_stay_inside_and_every_way_ends(machine, has_zero_copy):
    program = seccomp.filter_program(seccomp.machine(), has_zero_copy)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    for at, (operation, if_true, if_false, _) in enumerate(code):
        if operation in (0x15, 0x35):
            assert at + 1 + max(if_true, if_false) < len(code)
    assert code[-1][0] == 0x06


def test_machine_that_the_filter_was_not_written_for_is_a_missing_prerequisite(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(PrerequisiteMissing, match=r"^machine riscv64: .* needs x86_64 or aarch64$"):
        seccomp.machine()


# -- with the kernel ------------------------------------------------------------------


class Caller:
    """A thread of ours under the filter, which does one system call after the other."""

    def __init__(self):
        self._calls: queue.Queue[Any] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.listener = self._answers.get(timeout=DEADLINE_S)
        self.tid = self._thread.native_id
        self.ident = self._thread.ident

    def _run(self):
        self._answers.put(seccomp.install_filter())
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put(call())
            except (OSError, PrerequisiteMissing) as error:
                self._answers.put(error)

    def start(self, call):
        """Let it call, and wait until that was trapped."""
        self.begin(call)
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        assert poll.poll(DEADLINE_S * 1000), "the call was not trapped"
        notification = seccomp.receive(self.listener)
        assert notification is not None
        return notification

    def begin(self, call):
        self._calls.put(call)

    def answer(self):
        """What the call gave, or the error that it raised."""
        return self._answers.get(timeout=DEADLINE_S)

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.listener)  # whatever still waits gets ENOSYS
        self._calls.put(None)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def caller():
    caller = Caller()
    yield caller
    caller.close()


def test_ioctl_arrives_with_its_arguments_and_gets_its_value(caller):
    notification = caller.start(lambda: fcntl.ioctl(0, VFIO_IOCTL, 0x1122))
    assert notification == Notification(
        notification.cookie, caller.tid, "ioctl", (0, VFIO_IOCTL, 0x1122, *notification.args[3:])
    )
    assert len(notification.args) == 6
    assert seccomp.send(caller.listener, notification.cookie, 77, 0)
    assert caller.answer() == 77


def test_ioctl_gets_its_errno(caller):
    notification = caller.start(lambda: fcntl.ioctl(0, VFIO_IOCTL))
    seccomp.send(caller.listener, notification.cookie, 0, errno.ENODEV)
    assert caller.answer().errno == errno.ENODEV


def test_read_and_write_are_told_apart(caller):
    notification = caller.start(lambda: os.read(DATA_FD_BASE, 33))
    assert (notification.call, notification.args[0]) == ("read", DATA_FD_BASE)
    assert notification.args[2] == 33
    seccomp.send(caller.listener, notification.cookie, 0, errno.EIO)
    assert caller.answer().errno == errno.EIO
    notification = caller.start(lambda: os.write(DATA_FD_END - 1, b"four"))
    assert (notification.call, notification.args[0]) == ("write", DATA_FD_END - 1)
    assert notification.args[2] == 4
    seccomp.send(caller.listener, notification.cookie, 3, 0)
    assert caller.answer() == 3


def test_what_is_allowed_goes_to_the_kernel(caller):
    with open("/dev/null", "r+b", buffering=0) as null:  # noqa: PTH123 - its fd is wanted
        caller.begin(lambda: (os.read(null.fileno(), 9), os.write(null.fileno(), b"x")))
        assert caller.answer() == (b"", 1)
        caller.begin(lambda: fcntl.ioctl(null, 0x5401))
        assert caller.answer().errno == errno.ENOTTY
    caller.begin(lambda: os.read(DATA_FD_BASE - 1, 1))
    assert caller.answer().errno == errno.EBADF


def test_only_the_thread_itself_is_under_the_filter(caller):
    with pytest.raises(OSError) as failure:
        fcntl.ioctl(0, VFIO_IOCTL)
    assert failure.value.errno in (errno.ENOTTY, errno.EBADF)


def test_call_is_valid_until_it_was_answered_and_no_longer(caller):
    cookie = caller.start(lambda: fcntl.ioctl(0, VFIO_IOCTL)).cookie
    assert seccomp.is_valid(caller.listener, cookie)
    assert not seccomp.is_valid(caller.listener, cookie + 1)
    assert seccomp.send(caller.listener, cookie, 0, 0)
    assert caller.answer() == 0
    assert not seccomp.is_valid(caller.listener, cookie)
    assert not seccomp.send(caller.listener, cookie, 0, 0)


@pytest.mark.parametrize("number", [None, DATA_FD_BASE + 5])
def test_descriptor_is_installed_close_on_exec(caller, number):
    memory = os.memfd_create("ours")
    os.write(memory, b"state")
    notification = caller.start(lambda: fcntl.ioctl(0, VFIO_IOCTL))
    installed = seccomp.add_fd(caller.listener, notification.cookie, memory, number)
    try:
        assert installed == number or number is None
        assert installed not in (0, 1, 2, memory)
        assert os.pread(installed, 9, 0) == b"state"
        assert not os.get_inheritable(installed)
    finally:
        os.close(memory)
        os.close(installed)
    seccomp.send(caller.listener, notification.cookie, 0, 0)
    caller.answer()


@pytest.mark.skipif(
    tuple(int(part) for part in platform.release().split(".")[:2]) < (5, 19),
    reason="SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV came with Linux 5.19",
)
def test_signal_does_not_interrupt_a_call_that_was_taken(caller):
    """QEMU gets many; each would make the call come again."""
    kept = signal.signal(signal.SIGUSR1, lambda *_args: None)
    try:
        notification = caller.start(lambda: fcntl.ioctl(0, VFIO_IOCTL))
        for _ in range(3):
            signal.pthread_kill(caller.ident, signal.SIGUSR1)
            assert seccomp.is_valid(caller.listener, notification.cookie)
        poll = select.poll()
        poll.register(caller.listener, select.POLLIN)
        assert not poll.poll(20), "it came again"
        assert seccomp.send(caller.listener, notification.cookie, 5, 0)
        assert caller.answer() == 5
    finally:
        signal.signal(signal.SIGUSR1, kept)


def test_broken_listener_is_an_error_not_a_gone_caller(caller):
    read_end, write_end = os.pipe()
    try:
        for call in (
            lambda: seccomp.receive(read_end),
            lambda: seccomp.is_valid(read_end, 1),
            lambda: seccomp.send(read_end, 1, 0, 0),
        ):
            with pytest.raises(OSError) as failure:
                call()
            assert failure.value.errno == errno.ENOTTY
    finally:
        os.close(read_end)
        os.close(write_end)


def test_kernel_that_refuses_the_filter_is_a_missing_prerequisite(caller):
    """Here because one listener is the most that a thread can have."""
    caller.begin(seccomp.install_filter)
    error = caller.answer()
    assert isinstance(error, PrerequisiteMissing)
    assert str(error).startswith(
        "seccomp user notification is refused here (Device or resource busy): "
    )
    assert "\n" not in str(error)
