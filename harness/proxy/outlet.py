"""What goes out on one socket: in order, without blocking, holding as little as possible."""

import itertools
import socket
from collections import deque
from collections.abc import Callable

from harness.proxy.pipe import Pipe

LIMIT = 4 << 20
"""Held bytes from which on the outlet's origin should not be read."""
_BATCH = 64  # buffers of one sendmsg

OnSent = Callable[[], None]
_NOTHING = memoryview(b"")


def nothing() -> None:
    """No callback."""


class Outlet:
    """The sending half of one socket.

    :param changed: called when it starts or stops holding bytes, and when it is over
    :ivar held: bytes that the socket has not taken yet
    :ivar sent: bytes that the socket has taken so far
    :ivar is_broken: its peer takes nothing more; what is written is dropped
    :ivar is_reset: it is broken by a reset
    :ivar is_copying: bytes are received and sent instead of spliced, so that a tap sees them
    """

    def __init__(self, sock: socket.socket, pipe: Pipe, changed: Callable[[], None]) -> None:
        self.sock = sock
        self.held = 0
        self.sent = 0
        self.is_broken = False
        self.is_reset = False
        self.is_copying = False
        self.is_ready = True
        """The socket is connected; until then everything is held."""
        self._pipe = pipe
        self._changed = changed
        self._queue: deque[tuple[memoryview, OnSent, OnSent]] = deque()
        self._is_ending = False
        self._is_shut = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for it."""
        return self.held >= LIMIT

    @property
    def is_over(self) -> bool:
        """Whether nothing will go out any more."""
        return self.is_broken or self._is_shut

    @property
    def is_ending(self) -> bool:
        """Whether nothing may be written any more."""
        return self._is_ending or self.is_over

    def write(self, *parts: bytes, on_sent: OnSent = nothing, on_lost: OnSent = nothing) -> None:
        """Send ``parts`` behind what is held; call ``on_sent`` when the socket has them all,
        or ``on_lost`` once it is certain that it never will.
        """
        if self.is_ending:
            on_lost()
            return
        was_empty = not self._queue
        self._queue += [(memoryview(part), nothing, nothing) for part in parts if part]
        self.held += sum(map(len, parts))
        if on_sent is not nothing or on_lost is not nothing:
            self._queue.append((_NOTHING, on_sent, on_lost))
        if was_empty:
            self._flush()
            if self.held:
                self._changed()

    def splice(self, origin: socket.socket, size: int) -> int:
        """Pass at most ``size`` bytes on from ``origin``; how many (0 at its end).

        :raise OSError: of ``origin``; BlockingIOError: nothing is there
        """
        if self._queue or not self.is_ready or self.is_copying:
            data = origin.recv(size)
            self.write(data)
            return len(data)
        taken = self._pipe.take(origin, size)
        try:
            rest = self._pipe.give(self.sock, taken)
        except OSError as error:
            self._break(error)
            return taken
        self.sent += taken - len(rest)
        if rest:
            self.write(rest)
        return taken

    def flush(self) -> None:
        """Send what the socket takes of what is held."""
        was_held = self.held
        self._flush()
        if was_held and not self.held:
            self._changed()

    def _flush(self) -> None:
        self._pop_sent(0)
        while self._queue:
            sent = self._send([view for view, *_ in itertools.islice(self._queue, _BATCH)])
            if not sent:
                return
            self.held -= sent
            self._pop_sent(sent)
        self._shut_if_empty()

    def _pop_sent(self, sent: int) -> None:
        while self._queue and sent >= len(self._queue[0][0]):
            view, on_sent, _ = self._queue.popleft()
            sent -= len(view)
            on_sent()
        if sent:
            view, on_sent, on_lost = self._queue[0]
            self._queue[0] = (view[sent:], on_sent, on_lost)

    def end(self) -> None:
        """No more will be written: shut the socket down once all is sent."""
        self._is_ending = True
        self._shut_if_empty()

    def _send(self, views: list[memoryview]) -> int:
        if self.is_broken or not self.is_ready:
            return 0
        try:
            sent = self.sock.sendmsg(views)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._break(error)
            return 0
        self.sent += sent
        return sent

    def give_up(self) -> None:
        """Its peer takes nothing more: what is held is lost."""
        self.is_broken = True
        lost, self._queue = self._queue, deque()
        self.held = 0
        for _, _, on_lost in lost:
            on_lost()

    def _break(self, error: OSError) -> None:
        self.is_reset = isinstance(error, ConnectionResetError)
        self.give_up()
        self._changed()

    def _shut_if_empty(self) -> None:
        if self._is_ending and not self._queue and not self.is_over and self.is_ready:
            self._is_shut = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:  # the peer has closed first
                self._break(error)
            self._changed()
