"""A **tap** gets everything that comes from the source, as it is read."""

import socket
from collections.abc import Callable

from harness.proxy.events import MAIN
from harness.wire.packets import HELLO

Tap = Callable[[int, bytes], None]
"""Called in the relay's thread with a channel (``events.MAIN``, or of multifd from its hello
on) and bytes that the source has sent on it, in order and before any fault.  What it raises
ends the relay."""


class TappedSocket(socket.socket):
    """The source's end of a connection; what is received on it goes to ``tap`` too.

    It takes ``sock``'s place.  The bytes must be received, not spliced (``Outlet.is_copying``).

    :param channel: returns the connection's channel, or a number below ``MAIN`` while that is
        not known; until then the bytes are kept, at most as many as a hello has
    """

    def __init__(self, sock: socket.socket, tap: Tap, channel: Callable[[], int]) -> None:
        super().__init__(fileno=sock.detach())
        self._tap = tap
        self._channel = channel
        self._kept = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of any socket; what is only looked at (MSG_PEEK) does not go to the tap."""
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
            self._kept = b""  # no migration channel: none of it is for the tap
