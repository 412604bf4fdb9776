"""Messages on a socket: whole ones, with their descriptors."""

import array
import contextlib
import os
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.vfio_user.messages import HEADER, Header, message

_ANCILLARY = socket.CMSG_SPACE(16 * 4)  # more than a peer may send


class Closed(ConnectionError):
    """The peer has ended the connection."""


@dataclass(slots=True)
class Message:
    """One that was received, with its descriptors, which the receiver closes."""

    header: Header
    payload: bytes
    fds: list[int] = field(default_factory=list)

    def close_fds(self) -> None:
        """Close the descriptors that nobody took."""
        while self.fds:
            os.close(self.fds.pop())


class Connection:
    """One end of a connection; a call that waits ends at its deadline.

    :param socket: connected; it is this connection's from now on
    """

    def __init__(self, socket: socket.socket) -> None:
        self._socket = socket
        self._socket.setblocking(False)

    @property
    def fd(self) -> int:
        """Of the socket; -1 when it is closed."""
        return self._socket.fileno()

    def send(
        self,
        number: int,
        command: int,
        payload: bytes = b"",
        *,
        flags: int = 0,
        errno: int = 0,
        fds: Sequence[int] = (),
        until: float | None = None,
    ) -> None:
        """Send one message.

        :param until: the deadline, in time.monotonic(); None for none
        :raise TimeoutError: the peer does not take it
        :raise OSError: the connection is broken
        """
        view = memoryview(message(number, command, payload, flags, errno))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while view:
            self._wait(select.POLLOUT, until)
            with contextlib.suppress(BlockingIOError):
                view = view[self._socket.sendmsg([view], ancillary, socket.MSG_NOSIGNAL) :]
                ancillary = []

    def receive(self, until: float | None = None) -> Message:
        """The next message.

        :raise TimeoutError: it did not come in time
        :raise ProtocolError: it cannot be a message
        :raise Closed: the peer has ended the connection
        """
        fds: list[int] = []
        try:
            header = Header.parse(self._exactly(HEADER.size, fds, until))
            payload = self._exactly(header.payload_size, fds, until)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return Message(header, payload, fds)

    def _exactly(self, count: int, fds: list[int], until: float | None) -> bytes:
        pieces = bytearray()
        while len(pieces) < count:
            self._wait(select.POLLIN, until)
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    count - len(pieces), _ANCILLARY, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            for _, kind, raw in ancillary:
                if kind == socket.SCM_RIGHTS:
                    found = array.array("i")
                    found.frombytes(raw[: len(raw) // found.itemsize * found.itemsize])
                    fds.extend(found)
            if not data:
                raise Closed("it ended the connection")
            pieces += data
        return bytes(pieces)

    def _wait(self, event: int, until: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        left = None if until is None else max(0.0, until - time.monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError("no answer")

    def shut_down(self) -> None:
        """End the connection, in any thread: a call that waits ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
