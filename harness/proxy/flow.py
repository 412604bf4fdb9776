"""One direction of one connection that is passed on as bytes."""

import select
import socket
from collections.abc import Callable

from harness.proxy.outlet import Outlet

CHUNK = 1 << 20
TURNS = 8
"""Pieces that one connection may pass before the others have their turn."""

END, DRY, MORE = range(3)
"""What a step says: the origin has ended, has no more for now, may have more."""


class Flow:
    """Reads ``origin`` as long as what feeds on it can take it.

    :param changed: called when ``wants_more`` or ``is_open`` may have changed
    :ivar is_open: more may come
    :ivar is_paused: nothing is read for now
    :ivar is_reset: it ended by a reset
    :ivar is_gone: its peer has closed the connection, not this direction alone
    """

    def __init__(self, origin: socket.socket, outlet: Outlet, changed: Callable[[], None]) -> None:
        self.origin = origin
        self.outlet = outlet
        self.is_open = True
        self.is_paused = False
        self.is_reset = False
        self.is_gone = False
        self.changed = changed

    @property
    def wants_more(self) -> bool:
        """Whether to read when there is something."""
        return self.is_open and not self.is_paused and not self.outlet.held

    def read(self) -> None:
        """Take what is there, within reason."""
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

    def step(self) -> int:
        """Take a piece.

        :raise OSError: of the origin; BlockingIOError: nothing is there
        """
        return MORE if self.outlet.splice(self.origin, CHUNK) else END

    def ended(self) -> None:
        """No more will come."""
        self.outlet.end()

    def pause(self, is_paused: bool) -> None:
        """Read nothing for now, or again."""
        self.is_paused = is_paused
        self.changed()

    def stop(self) -> None:
        """Read no more, and let the peer's writing fail."""
        self.is_open = False
        try:
            self.origin.shutdown(socket.SHUT_RD)
        except OSError:
            self.is_gone = True
        self.changed()

    def _end(self, *, is_gone: bool, is_reset: bool) -> None:
        self.is_open = False
        self.is_gone = is_gone
        self.is_reset = is_reset
        if not is_reset:  # whose connection closes as a whole, without an orderly end
            self.ended()
        self.changed()


def _has_hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return any(mask & (select.POLLHUP | select.POLLERR) for _, mask in poll.poll(0))
