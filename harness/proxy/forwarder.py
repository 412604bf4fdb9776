"""One direction of one connection: bytes are read from a socket and written to an outlet."""

import select
import socket
from collections.abc import Callable
from typing import ClassVar

from harness.proxy.outlet import Outlet

CHUNK = 1 << 20
TURNS = 8
"""Pieces that one connection may pass before it is another's turn."""

END, DRY, MORE = range(3)
"""What a step returns: the origin has ended, has no more for now, may have more."""


class Forwarder:
    """Reads ``origin`` while ``outlet`` has room.

    This one passes everything on as bytes; a subclass knows what they mean.

    :param changed: called when ``wants_more`` or ``is_open`` may have changed
    :ivar is_open: more may come
    :ivar is_paused: nothing is read for now
    :ivar is_reset: it ended by a reset
    :ivar is_gone: its peer has closed the connection, not this direction alone
    :ivar rest: part of a packet that the source ended in: goes last of all, past the faults
    """

    is_multifd: ClassVar[bool] = False
    """Whether it is of a multifd channel, or of one that was damaged."""

    def __init__(self, origin: socket.socket, outlet: Outlet, changed: Callable[[], None]) -> None:
        self.origin = origin
        self.outlet = outlet
        self.is_open = True
        self.is_paused = False
        self.is_reset = False
        self.is_gone = False
        self.rest = b""
        self._changed = changed

    @property
    def wants_more(self) -> bool:
        """Whether to read when there is something."""
        return self.is_open and not self.is_paused and not self.outlet.held

    @property
    def is_inside(self) -> bool:
        """Whether a packet is partly out, so that no other may go out yet."""
        return False

    def read(self) -> None:
        """Pass on what is there, at most ``TURNS`` pieces."""
        try:
            for _ in range(TURNS):
                if not self.wants_more:
                    return
                came = self.step()
                if came == DRY:
                    return
                if came == END:
                    self._end(is_gone=_has_hung_up(self.origin), is_reset=False)
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._end(is_gone=True, is_reset=isinstance(error, ConnectionResetError))

    def take(self, data: bytes) -> None:
        """Pass on ``data``, which was received elsewhere."""
        self.outlet.write(data)

    def step(self) -> int:
        """Pass a piece on.

        :raise OSError: of the origin; BlockingIOError: nothing is there
        """
        return MORE if self.outlet.splice(self.origin, CHUNK) else END

    def ended(self) -> None:
        """No more will come."""
        self.outlet.end()

    def pause(self, is_paused: bool) -> None:
        """Read nothing for now, or again."""
        self.is_paused = is_paused
        self._changed()

    def stop(self) -> None:
        """Read no more, and let the peer's writing fail."""
        self.is_open = False
        try:
            self.origin.shutdown(socket.SHUT_RD)
        except OSError:
            self.is_gone = True
        self._changed()

    def _end(self, *, is_gone: bool, is_reset: bool) -> None:
        self.is_open = False
        self.is_gone = is_gone
        self.is_reset = is_reset
        if not is_reset:  # a reset closes the connection at once, without an orderly end
            self.ended()
        self._changed()


def _has_hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return any(mask & (select.POLLHUP | select.POLLERR) for _, mask in poll.poll(0))
