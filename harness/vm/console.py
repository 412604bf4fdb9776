"""The guest's serial console, and what the guest of ``images/guest`` prints on it.

One end of a socket pair is the chardev of QEMU's first serial port; QEMU also writes the console
to a file in the run directory.  The switchover may split a line in two, one part on the console
of each side; such parts are recorded as ``line``.
"""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.history import Record, Side
from harness.history.guest import GaveUp, Interrupts, Line, Ready, Round
from harness.vm.activity import Activity

_READ_SIZE = 1 << 16
_LONGEST_LINE = 4096

# As images/guest/init.c prints them.
_READY = re.compile(r"guest: ready: (\d+) KiB of memory((?:, BAR 0 of \S+)*)")
_ROUND = re.compile(
    r"guest: round (\d+): memory (good|damaged: [^,]*, not \S+?)((?:, [0-9a-f]{4}:.*)?)"
)
_DEVICE = re.compile(r", ([0-9a-f]{4}:\S+) (good|damaged: .*?)(?=, [0-9a-f]{4}:|$)")
_INTERRUPTS = re.compile(r"guest: interrupts of ([0-9a-f]{4}:\S+):((?: \d+)*)")
_GAVE_UP = re.compile(r"guest: gave up: (.*)")


def parse(line: str, devices: Mapping[str, str]) -> Ready | Round | Interrupts | GaveUp | Line:
    """What to record for one line of the console.

    :param devices: PCI address as Linux writes it (``0000:00:02.0``) -> id
    """
    if found := _READY.fullmatch(line):
        names = re.findall(r"BAR 0 of ([^\s,]+)", found[2])
        return Ready(int(found[1]), [devices.get(name, name) for name in names])
    if found := _ROUND.fullmatch(line):
        told = {devices.get(name, name): words for name, words in _DEVICE.findall(found[3])}
        return Round(int(found[1]), found[2], told)
    if found := _INTERRUPTS.fullmatch(line):
        device = devices.get(found[1], found[1])
        return Interrupts(device, [int(number) for number in found[2].split()])
    if found := _GAVE_UP.fullmatch(line):
        return GaveUp(found[1])
    return Line(line)


class Console:
    """The console of the QEMU of ``side``: gives options for its command line, then records.

    :ivar path: the file to which QEMU itself writes the console
    :param devices: PCI address -> id of the scenario's devices
    """

    def __init__(
        self,
        side: Side,
        path: Path,
        devices: Mapping[str, str],
        record: Callable[[Record], None],
        activity: Activity,
    ) -> None:
        self._side = side
        self.path = path
        self._devices = devices
        self._record = record
        self._activity = activity
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._buffer = b""
        self.ready: Ready | None = None
        """None if the guest was not ready, or was so on the other side."""
        self.rounds = 0
        """How many rounds it has printed here."""
        self.why_not = ""
        """Why the guest gave up; empty if it did not."""
        self.last_line = ""
        """The last line printed."""

    @property
    def fd(self) -> int:
        """QEMU's end of the socket pair, which it inherits."""
        return self._theirs.fileno()

    def options(self) -> Sequence[str]:
        """QEMU options for it."""
        path = str(self.path).replace(",", ",,")
        return [
            *("-chardev", f"socket,id=console,fd={self.fd},logfile={path}"),
            *("-serial", "chardev:console"),
        ]

    def listen(self) -> None:
        """Record from now on, in the running event loop; call it when QEMU was started."""
        self._theirs.close()  # so that its end is seen
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._read)

    def close(self) -> None:
        """Record what is left and stop; may be called again."""
        self._theirs.close()
        if self._ours.fileno() < 0:
            return
        while data := self._received():
            self._take(data)
        self._flush()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._ours)
        self._ours.close()

    def _read(self) -> None:
        data = self._received()
        if data is None:
            return
        if data:
            self._take(data)
        else:
            self.close()
        self._activity.notify()

    def _received(self) -> bytes | None:
        """New data; empty if QEMU has ended, None if there is nothing yet."""
        try:
            return self._ours.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def _take(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._buffer) > _LONGEST_LINE:
            self._flush()

    def _flush(self) -> None:
        """Record the part of a line that has no end."""
        rest, self._buffer = self._buffer, b""
        if rest:
            self._say(rest, is_whole=False)

    def _say(self, line: bytes, *, is_whole: bool = True) -> None:
        text = line.decode("ascii", errors="backslashreplace").rstrip("\r")
        if not text:
            return
        # A round that was cut short may lack devices.
        said = parse(text, self._devices) if is_whole else Line(text)
        self.last_line = text
        match said:
            case Ready():
                self.ready = said
            case Round():
                self.rounds += 1
            case GaveUp(why):
                self.why_not = why
        self._record(Record.of(time.time_ns(), self._side, said))
