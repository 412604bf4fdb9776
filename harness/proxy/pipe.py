"""Bytes go from socket to socket without passing through this process (``splice(2)``).

The pages that a peer wrote are passed on as they are, at half the cost of receiving and
sending them.
"""

import contextlib
import fcntl
import os
import socket

SIZE = 1 << 20


class Pipe:
    """One pipe for all connections of a thread: what goes in comes out at once."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._size = 64 * 1024
        with contextlib.suppress(OSError):  # this user has too many pages in pipes already
            self._size = fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, SIZE)

    def take(self, origin: socket.socket, size: int) -> int:
        """Take at most ``size`` bytes from ``origin``; how many (0 if it has ended).

        :raise OSError: of ``origin``; BlockingIOError: nothing is there
        """
        return os.splice(origin.fileno(), self._write, min(size, self._size))

    def give(self, sink: socket.socket, size: int) -> bytes:
        """Give ``sink`` the ``size`` bytes that were taken; returns those it does not take now.

        :raise OSError: of ``sink``; the bytes are lost
        """
        try:
            while size:
                size -= os.splice(self._read, sink.fileno(), size)
        except BlockingIOError:
            return os.read(self._read, size)
        except OSError:
            os.read(self._read, size)
            raise
        return b""

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)
