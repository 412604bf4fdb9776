"""Addresses: where a relay listens, and where it connects to."""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import UsageError

BACKLOG = 256
UNIX_SEND_BUFFER = 1 << 20
"""A unix stream is woken for writing when three quarters of its buffer were read: with
the default of 208 KiB that is too late to keep the reader busy."""
_LONGEST_PATH = 107
"""Bytes of a unix socket's path (sun_path in unix(7), without the NUL)."""
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket in the file system: users who may enter its folder may connect.

    Abstract sockets are not used: every user of the machine may connect to one.

    :ivar path: as QEMU gets it
    :ivar folder: the working directory of that QEMU, which ``path`` is relative to
    """

    path: str
    folder: Path = Path()
    held_backlog: ClassVar[int] = 0
    """Backlog of a listener that holds connections: those behind the first wait in connect()."""

    def make_socket(self) -> socket.socket:
        """A socket that can be connected to it."""
        return socket.socket(socket.AF_UNIX)

    def listen(self, backlog: int = BACKLOG) -> socket.socket:
        """A listening socket, which does not block; its queue has room for ``backlog`` + 1.

        Only its owner may connect, also where the folder lets others in.
        """
        listener = self.make_socket()
        # The socket's mode is the file's, less the umask (unix_bind_bsd() in net/unix/af_unix.c).
        os.fchmod(listener.fileno(), 0o600)
        with within_reach(self.folder / self.path) as path:
            return _listening(listener, path, backlog)

    def connect(self, sock: socket.socket) -> int:
        """Connect; 0, or the errno.  EAGAIN: the listener's queue is full, ask again."""
        try:
            with within_reach(self.folder / self.path) as path:
                error = sock.connect_ex(path)
        except OSError as failure:  # of the folder
            error = failure.errno or errno.EIO
        # QEMU removes the file when it stops listening.
        return errno.ECONNREFUSED if error == errno.ENOENT else error

    def remove(self) -> None:
        """Remove the file, if it is there."""
        (self.folder / self.path).unlink(missing_ok=True)

    def bound(self, _listener: socket.socket) -> "UnixAddress":
        """The address to connect to, once ``listener`` listens."""
        return self

    def qmp(self) -> dict[str, Any]:
        """As the ``addr`` of a channel in QMP."""
        return {"transport": "socket", "type": "unix", "path": self.path}


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port; 0 to listen on any that is free.

    Every user of the machine can connect to it, on loopback too: used on request only.
    """

    host: str = "127.0.0.1"
    port: int = 0
    held_backlog: ClassVar[int] = BACKLOG
    """Backlog of a listener that holds connections: all of them connect, and are not served.

    A full queue is no way to hold them: the kernel has answered several SYNs before the first
    connection is complete, and resets those that find no room (tcp_conn_request() and
    cookie_v4_check() of net/ipv4).
    """

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

    def remove(self) -> None:
        """A port leaves nothing behind."""

    def bound(self, listener: socket.socket) -> "TcpAddress":
        """The address to connect to, once ``listener`` listens."""
        return TcpAddress(self.host, listener.getsockname()[1])

    def qmp(self) -> dict[str, Any]:
        """As the ``addr`` of a channel in QMP."""
        return {
            "transport": "socket", "type": "inet", "host": self.host, "port": str(self.port)
        }  # fmt: skip


Address = UnixAddress | TcpAddress


def from_qmp(addr: dict[str, Any], folder: Path = Path()) -> Address:
    """The address in a channel's ``addr``, or in ``socket-address`` of query-migrate.

    :param folder: QEMU's working directory
    :raise UsageError: of a kind that a relay cannot use
    """
    match addr:
        case {"type": "unix", "path": str(path)} if not addr.get("abstract"):
            return UnixAddress(path, folder)
        case {"type": "inet", "host": str(host), "port": port}:
            return TcpAddress(host, int(port))
    raise UsageError(f"a relay cannot connect to {addr}: only unix sockets with a path, and TCP")


@contextlib.contextmanager
def within_reach(path: Path) -> Iterator[str]:
    """A name for ``path`` that is short enough for a socket, while the block runs.

    :raise OSError: its folder cannot be entered
    """
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def stranger(sock: socket.socket) -> dict[str, int] | None:
    """``pid`` and ``uid`` of the process that has connected, if it is another user's.

    None if it is this user's, or of TCP, where that is not known.
    """
    if sock.family != socket.AF_UNIX:
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return None if uid == os.geteuid() else {"pid": pid, "uid": uid}


def tune(sock: socket.socket) -> None:
    """Set the options of every connection that is passed on."""
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
