"""Bytes of channels, and sockets to send them over."""

import atexit
import secrets
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

from harness.proxy.address import UnixAddress
from harness.wire.packets import MultiFDInit, RamPacket

TIMEOUT_S = 20.0
PAGES = bytes(range(256)) * 32


def new_address() -> UnixAddress:
    """Of a unix socket; what is made there is gone when this process is."""
    return UnixAddress(f"test-{secrets.token_hex(8)}", _folder())


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vfio-multifd-test-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def hello(channel: int) -> bytes:
    return MultiFDInit(channel, b"U" * 16).pack()


def ram(pages: bytes = PAGES, *, flags: int = 0) -> bytes:
    """A RAM packet; with no pages and flag 1 it is a SYNC."""
    name = b"pc.ram".ljust(256, b"\0")
    head = RamPacket(flags, 128, len(pages) // 4096, len(pages), 10, 3, name, bytes(1024))
    return head.pack() + pages


SYNC = ram(b"", flags=1)


def pair() -> tuple[socket.socket, socket.socket]:
    """Ours, which does not block, and the peer's, which waits for a while."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.settimeout(TIMEOUT_S)
    return ours, peer


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or what there is up to the end."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(min(size - len(data), 1 << 20))):
        data += piece
    return bytes(data)


def receive_all(sock: socket.socket) -> bytes:
    """All bytes up to the end."""
    return receive(sock, 1 << 40)


def fill(sock: socket.socket) -> int:
    """Write until nothing more goes in; how much that was."""
    size = 0
    try:
        while True:
            size += sock.send(bytes(1 << 16))
    except BlockingIOError:
        return size


def send_until(sock: socket.socket, data: bytes, error: type[Exception]) -> int:
    """Send ``data`` over and over until it fails with ``error``; how many bytes went."""
    sent = 0
    try:
        while sent < 1 << 30:
            sent += sock.send(data[sent % len(data) :][: 1 << 16])
    except error:
        return sent
    raise AssertionError(f"a GiB went, and no {error.__name__}")
