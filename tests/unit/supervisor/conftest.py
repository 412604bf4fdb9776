"""A small program under a supervisor, in place of a QEMU: it does one call after the other."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from typing import TypeVar

import pytest

from harness.history import Body, Record, Side
from harness.scenario import EmulatedDevice
from harness.supervisor.attached import AttachedDevice
from harness.supervisor.spawn import Spawn
from harness.supervisor.supervisor import Supervisor

DEADLINE_S = 10.0

# Takes calls as JSON lines, does each in a thread of its own, and says how it ended.
PROGRAM = """
import ctypes, fcntl, json, os, sys, threading
from _socket import socket
talk = socket(fileno=int(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)

def answer(number, **what):
    talk.sendall(json.dumps({"number": number, **what}).encode() + b"\\n")

def do(number, call, fd, *args):
    try:
        if call == "ioctl":
            command, data = args
            buffer = bytearray.fromhex(data)
            value = fcntl.ioctl(fd, command, buffer)
            answer(number, value=value, data=buffer.hex())
        elif call == "ioctl_at":
            answer(number, value=fcntl.ioctl(fd, *args))
        elif call == "read":
            answer(number, data=os.read(fd, *args).hex())
        elif call == "write":
            answer(number, value=os.write(fd, bytes.fromhex(*args)))
        elif call == "read_to":
            value = libc.read(fd, ctypes.c_void_p(args[0]), ctypes.c_size_t(args[1]))
            answer(number, value=value, errno=ctypes.get_errno())
        elif call == "sendmsg":
            value = libc.sendmsg(fd, None, *args)
            answer(number, value=value, errno=ctypes.get_errno())
        elif call == "facts":
            answer(number, session=os.getsid(0), environment=os.environ.get("WORD"))
        elif call == "exit":
            os._exit(fd)
    except OSError as error:
        answer(number, errno=error.errno)

pending = b""
answer(-1)
while data := talk.recv(65536):
    *lines, pending = (pending + data).split(b"\\n")
    for line in lines:
        threading.Thread(target=do, args=json.loads(line)).start()
os._exit(0)
"""


class Child:
    """The program; a call is done by ``begin`` and ``end``, or by both at once."""

    def __init__(self, supervisor, **launch):
        self._talk, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(theirs.fileno())]
            self.process = supervisor.launch(
                Spawn(argv=argv, pass_fds=(theirs.fileno(),), **launch)
            )
        self._talk.settimeout(DEADLINE_S)
        self._lines = self._talk.makefile("r")
        self._number = 0
        self.next()

    def begin(self, call, fd=0, *args):
        """Let it call; the number of the call."""
        self._number += 1
        self._talk.sendall(json.dumps([self._number, call, fd, *args]).encode() + b"\n")
        return self._number

    def next(self):
        """The next answer to any call."""
        line = self._lines.readline()
        assert line, "the program is gone"
        return json.loads(line)

    def call(self, *what):
        """The answer to one call, while no other is under way."""
        number = self.begin(*what)
        answer = self.next()
        assert answer.pop("number") == number
        return answer

    def ioctl(self, fd, number, argument):
        """(value or minus the errno, the argument afterwards) of a VFIO ioctl."""
        answer = self.call("ioctl", fd, 0x3B00 | number, argument.hex())
        if "errno" in answer:
            return -answer["errno"], b""
        return answer["value"], bytes.fromhex(answer["data"])

    def read(self, fd, count):
        """The bytes, or minus the errno."""
        answer = self.call("read", fd, count)
        return -answer["errno"] if "errno" in answer else bytes.fromhex(answer["data"])

    def write(self, fd, data):
        """The count, or minus the errno."""
        answer = self.call("write", fd, data.hex())
        return -answer["errno"] if "errno" in answer else answer["value"]

    def kill(self):
        self.process.kill()
        self.wait()

    def wait(self):
        return self.process.wait(DEADLINE_S)

    def close(self):
        """Let it end; it does so when nobody talks to it any more."""
        self._lines.close()
        self._talk.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(DEADLINE_S)
        self.process.kill()
        self.process.wait()


B = TypeVar("B", bound=Body)


class Bench:
    """One supervisor with devices, its program, and all records."""

    def __init__(self, *specs, **fields):
        self.records: list[Record] = []
        self.supervisor = Supervisor(Side.SOURCE, self.records.append, **fields)
        for index, spec in enumerate(specs):
            device = AttachedDevice(
                spec, Side.SOURCE, self.supervisor.iommu, index, self.records.append
            )
            self.supervisor.attach(device)
        self._child: Child | None = None

    @property
    def devices(self) -> list[AttachedDevice]:
        return self.supervisor.devices

    @property
    def device(self) -> AttachedDevice:
        return self.devices[0]

    def launch(self, **launch) -> Child:
        assert self._child is None
        self._child = Child(self.supervisor, **launch)
        return self._child

    @property
    def child(self) -> Child:
        return self._child or self.launch()

    def of(self, body: type[B]) -> list[B]:
        """What all records of that type hold."""
        return [record.args for record in self.records if isinstance(record.args, body)]

    def close(self):
        """Let the program and then the supervisor end: now every record is there."""
        if self._child is not None:
            self._child.close()
        self.supervisor.close()


@pytest.fixture
def new_bench():
    """Makes benches; what they started is gone at the end."""
    benches = []

    def make(*specs, **fields):
        benches.append(Bench(*specs, **fields))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(new_bench):
    """A bench with a device of a small state."""
    return new_bench(EmulatedDevice(id="vfio0", size=10_000, bar_size=4096))


@pytest.fixture
def is_gone():
    """Whether the process behind a pidfd is gone, after waiting for that."""

    def wait(pidfd):
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(DEADLINE_S * 1000))

    return wait


@pytest.fixture
def open_fds():
    """Makes the set of our open descriptors."""
    return lambda: set(os.listdir("/proc/self/fd"))  # noqa: PTH208
