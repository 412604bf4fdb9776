"""Where a relay listens and where it connects to."""

import socket
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError

BACKLOG = 256
UNIX_SEND_BUFFER = 1 << 20
"""A unix stream is woken for writing when three quarters of its buffer were read: with
the default of 208 KiB that is too late to keep the reader busy."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """An abstract unix socket: nothing in the file system, nothing to leave behind."""

    name: str

    def make_socket(self) -> socket.socket:
        """A socket that can be connected to it."""
        return socket.socket(socket.AF_UNIX)

    def listen(self, backlog: int = BACKLOG) -> socket.socket:
        """A listening socket, which does not block; its queue has room for ``backlog`` + 1."""
        return _listening(self.make_socket(), f"\0{self.name}", backlog)

    def connect(self, sock: socket.socket) -> int:
        """Connect; 0, or the errno.  EAGAIN: the listener's queue is full, ask again."""
        return sock.connect_ex(f"\0{self.name}")

    def bound(self, _listener: socket.socket) -> "UnixAddress":
        """The address to connect to, once somebody listens."""
        return self

    def qmp(self) -> dict[str, Any]:
        """As the ``addr`` of a channel in QMP."""
        return {"transport": "socket", "type": "unix", "path": self.name, "abstract": True}


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port; 0 to listen on any that is free."""

    host: str = "127.0.0.1"
    port: int = 0

    def make_socket(self) -> socket.socket:
        """A socket that can be connected to it."""
        return socket.socket(socket.AF_INET)

    def listen(self, backlog: int = BACKLOG) -> socket.socket:
        """A listening socket, which does not block; its queue has room for ``backlog`` + 1."""
        listener = self.make_socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _listening(listener, (self.host, self.port), backlog)

    def connect(self, sock: socket.socket) -> int:
        """Connect; 0, or the errno.  EINPROGRESS: it can be written once it has."""
        return sock.connect_ex((self.host, self.port))

    def bound(self, listener: socket.socket) -> "TcpAddress":
        """The address to connect to, once somebody listens."""
        return TcpAddress(self.host, listener.getsockname()[1])

    def qmp(self) -> dict[str, Any]:
        """As the ``addr`` of a channel in QMP."""
        return {
            "transport": "socket", "type": "inet", "host": self.host, "port": str(self.port)
        }  # fmt: skip


Address = UnixAddress | TcpAddress


def from_qmp(addr: dict[str, Any]) -> Address:
    """The address in a channel's ``addr``, or in ``socket-address`` of query-migrate.

    :raise UsageError: not a kind that a relay can stand at
    """
    match addr:
        case {"type": "unix", "path": str(path), "abstract": True}:
            return UnixAddress(path)
        case {"type": "inet", "host": str(host), "port": port}:
            return TcpAddress(host, int(port))
    raise UsageError(f"no relay can connect to {addr}: abstract unix sockets and TCP only")


def tune(sock: socket.socket) -> None:
    """Settings of every connection that is passed on."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BUFFER)
    else:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # heads go apart from bodies


def _listening(
    listener: socket.socket, where: str | tuple[str, int], backlog: int
) -> socket.socket:
    try:
        listener.bind(where)
        listener.setblocking(False)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
