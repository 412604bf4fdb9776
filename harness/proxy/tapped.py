"""A **tap**: everything that comes from the source, told as it is read."""

import socket
from collections.abc import Callable

from harness.proxy.events import MAIN
from harness.wire.packets import HELLO

Tap = Callable[[int, bytes], None]
"""Called in the relay's thread with a channel (``events.MAIN`` or of multifd, from its hello
on) and bytes that the source has sent on it, in the order of that channel and before any
fault.  What it raises ends the relay."""


class TappedSocket(socket.socket):
    """The source's end of a connection; what is received of it goes to ``tap`` too.

    It takes ``sock``'s place.  The bytes must be received, not spliced (``Outlet.is_copying``).

    :param channel: tells what the connection is, and a number below ``MAIN`` as long as that
        is not known; until then the bytes are kept, no more of them than make a hello
    """

    def __init__(self, sock: socket.socket, tap: Tap, channel: Callable[[], int]) -> None:
        super().__init__(fileno=sock.detach())
        self._tap = tap
        self._channel = channel
        self._kept = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of any socket; what is only looked at (MSG_PEEK) is not told."""
        data = super().recv(size, flags)
        if not flags & socket.MSG_PEEK:
            self._kept += data
            self.give()
        return data

    def give(self) -> None:
        """Give the tap what is kept, if it is known by now which channel that is of."""
        channel = self._channel()
        if channel >= MAIN and self._kept:
            data, self._kept = self._kept, b""
            self._tap(channel, data)
        elif len(self._kept) > HELLO.size:
            self._kept = b""  # no migration channel: whatever it says is nothing to a tap
