"""One connection of the source: its socket, and the one that goes on to the destination."""

import errno
import socket
import struct
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Literal

from harness.history import wire
from harness.proxy.address import Address, tune
from harness.proxy.events import MAIN
from harness.proxy.forwarder import Forwarder
from harness.proxy.outlet import OnSent, Outlet, nothing
from harness.proxy.pipe import Pipe
from harness.proxy.recorder import Recorder
from harness.proxy.tapped import Tap, TappedSocket
from harness.wire.packets import MAGIC, DeviceStatePacket, MultiFDInit

QEMU_VM_FILE_MAGIC = b"QEVM"
MULTIFD_MAGIC = MAGIC.to_bytes(4, "big")
TLS_HANDSHAKE = b"\x16\x03"
"""A TLS record of type handshake, major version 3 (RFC 8446, 5.1): how a ClientHello begins."""
UNKNOWN, RAW = -3, -2
"""Channel numbers of a connection that is not known yet, and of one of neither kind."""
Peer = Literal["source", "destination"]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with a reset


class Connection:
    """Passes what the source sends on to the destination, and back.

    :param onward: where the destination listens
    :param changed: called with it when ``settle`` and the interests must be looked at
    :param tap: gets all that the source sends
    :ivar number: in order of accept
    :ivar channel: multifd channel, ``MAIN``, ``RAW`` or ``UNKNOWN``
    :ivar from_source: what reads the source; ``look`` does until the connection is known
    :ivar from_destination: what reads the destination
    """

    def __init__(
        self,
        number: int,
        source: socket.socket,
        onward: Address,
        pipe: Pipe,
        recorder: Recorder,
        changed: Callable[["Connection"], object],
        tap: Tap | None = None,
    ) -> None:
        self.number = number
        self.channel = UNKNOWN
        if tap is not None:
            source = TappedSocket(source, tap, lambda: self.channel)
        self.source = source
        self.is_closed = False
        self.is_known = False
        """Whether the first bytes have shown what it is."""
        self._onward = onward
        tune(source)
        self.destination = onward.make_socket()
        tune(self.destination)
        self.connecting = onward.connect(self.destination)
        self._recorder = recorder
        self._changed = changed
        self.to_source = Outlet(source, pipe, self.changed)
        self.to_destination = Outlet(self.destination, pipe, self.changed)
        self.to_destination.is_ready = not self.connecting
        self.to_destination.is_copying = tap is not None
        self.from_source = Forwarder(source, self.to_destination, self.changed)
        self.from_destination = Forwarder(self.destination, self.to_source, self.changed)
        self.is_left = False
        """Whether the destination has ended it before the source did, and not by a fault."""
        self._is_broken_off = False
        self._ended: set[Peer] = set()
        self._is_reset = False
        self._first = b""
        self._hello: MultiFDInit | None = None
        self._deferred: list[tuple[tuple[bytes, ...], OnSent, OnSent]] = []

    def changed(self) -> None:
        """``settle`` and the interests must be looked at."""
        self._changed(self)

    # -- beginning -------------------------------------------------------------------

    @property
    def kind(self) -> Literal["main", "multifd", "tls", "raw"]:
        """What its first bytes have shown: main, multifd, tls, or raw."""
        if self.channel == RAW:
            return "tls" if self._first.startswith(TLS_HANDSHAKE) else "raw"
        return "main" if self.channel == MAIN else "multifd"

    @property
    def must_retry(self) -> bool:
        """A unix listener's queue is full; the kernel does not notify when it has room again."""
        return self.connecting == errno.EAGAIN

    @property
    def is_refused(self) -> bool:
        """Whether the destination cannot be reached."""
        return self.connecting not in (0, errno.EAGAIN, errno.EINPROGRESS)

    def retry(self) -> None:
        """Connect again."""
        self._set_connecting(self._onward.connect(self.destination))

    def finish_connecting(self) -> None:
        """The socket is ready: connecting has succeeded or failed."""
        self._set_connecting(self.destination.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _set_connecting(self, error: int) -> None:
        self.connecting = error
        self.to_destination.is_ready = not error
        self.changed()

    def look(
        self,
        make_multifd: Callable[["Connection"], Forwarder],
        make_main: Callable[["Connection"], Forwarder] | None = None,
    ) -> bool:
        """Read the first bytes; whether they have shown what the connection is.

        :param make_main: None if a main channel is passed on unread
        """
        try:
            data = self.source.recv(len(MULTIFD_MAGIC) - len(self._first))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self._first += data
        if data and len(self._first) < len(MULTIFD_MAGIC):
            return False
        self.is_known = True
        if self._first == MULTIFD_MAGIC:
            self.from_source = make_multifd(self)
        elif self._first != QEMU_VM_FILE_MAGIC:
            self.channel = RAW
        else:
            self.channel = MAIN
            self.from_source = self.from_source if make_main is None else make_main(self)
        self.from_source.take(self._first)
        return True

    def show(self, hello: MultiFDInit) -> None:
        """The hello of a multifd channel has come: it has the channel's number."""
        self.channel = hello.channel_id
        self._hello = hello

    def read(self) -> None:
        """Take what the source has sent, once it is known what the connection is."""
        self.from_source.read()
        if isinstance(self.source, TappedSocket):
            self.source.give()  # if the channel was not known before now

    # -- what the executor does ------------------------------------------------------

    def greet(self, hello: MultiFDInit) -> None:
        """Send the destination a multifd channel's hello."""
        if hello != self._hello:
            body = wire.HelloOut(hello.magic, hello.version, hello.channel_id, hello.uuid.hex())
            self._recorder.record(body, self.channel)
        self.to_destination.write(hello.pack())

    def deliver(self, packet: DeviceStatePacket) -> None:
        """Send the destination a packet, between two others."""
        is_out = partial(self._recorder.packet, wire.PacketOut, self.channel, packet)
        is_lost = partial(self._recorder.packet, wire.PacketLost, self.channel, packet)
        # Heads and data apart: a MiB is not copied for the sake of 288 bytes.
        self._send(packet.pack_heads(), packet.data, on_sent=is_out, on_lost=is_lost)

    def deliver_raw(self, data: bytes) -> None:
        """Send the destination bytes that are no packet, between two packets."""
        is_out = partial(self._recorder.record, wire.RawOut(len(data)), self.channel)
        self._send(data, on_sent=is_out)

    def deliver_deferred(self) -> None:
        """The source is between two packets: send what was deferred until then."""
        deferred, self._deferred = self._deferred, []
        for parts, on_sent, on_lost in deferred:
            self.to_destination.write(*parts, on_sent=on_sent, on_lost=on_lost)

    def end(self) -> None:
        """Pass the source's end on, behind what is left of a packet that it ended in."""
        self.deliver_deferred()
        if self.from_source.rest:
            self.to_destination.write(self.from_source.rest)
        self.to_destination.end()

    def break_off(self, is_abrupt: bool) -> None:
        """Close both ends; what is held still goes out, unless it is abrupt."""
        self._is_broken_off = True
        if is_abrupt:
            self.close(is_reset=True)
            return
        self.from_source.stop()
        self.from_destination.stop()
        self.to_source.end()
        self.end()

    def _send(self, *parts: bytes, on_sent: OnSent, on_lost: OnSent = nothing) -> None:
        if self.from_source.is_inside:
            self._deferred.append((parts, on_sent, on_lost))
        else:
            self.to_destination.write(*parts, on_sent=on_sent, on_lost=on_lost)

    # -- ending ----------------------------------------------------------------------

    def settle(self) -> None:
        """Pass on what has happened at one end to the other; close what is over."""
        if self.is_closed:
            return
        pairs = (
            (self.from_source, self.to_source, self.to_destination),
            (self.from_destination, self.to_destination, self.to_source),
        )
        if any(reader.is_reset or outlet.is_reset for reader, _, outlet in pairs):
            self.close(is_reset=True)
            return
        for reader, to_origin, _ in pairs:
            if reader.is_gone and not reader.is_open:
                to_origin.give_up()  # a peer that has closed takes nothing more
        for reader, _, outlet in pairs:
            if outlet.is_broken and reader.is_open:
                reader.stop()
        if all(not reader.is_open and outlet.is_over for reader, _, outlet in pairs):
            self.close(is_reset=False)

    def just_ended(self) -> list[tuple[Peer, Forwarder]]:
        """The sides that have sent their last byte, each of them once."""
        sides: tuple[tuple[Peer, Forwarder], ...] = (
            ("source", self.from_source),
            ("destination", self.from_destination),
        )
        found = [
            (side, reader)
            for side, reader in sides
            if not reader.is_open and side not in self._ended
        ]
        is_ours = self._is_broken_off or self.from_source.is_reset or "source" in self._ended
        self._ended.update(side for side, _ in found)
        self.is_left |= not is_ours and "destination" in self._ended
        return found

    def close(self, is_reset: bool) -> None:
        """Nothing goes either way any more; the peers see it at ``dispose``."""
        if self.is_closed:
            return
        self.is_closed = True
        self._is_reset = is_reset
        self.from_source.is_open = self.from_destination.is_open = False
        self.to_source.give_up()
        self.to_destination.give_up()
        self.deliver_deferred()  # lost, too
        self.changed()

    def dispose(self) -> None:
        """Close both sockets."""
        for sock in (self.source, self.destination):
            close(sock, is_reset=self._is_reset)

    # -- what to wait for ------------------------------------------------------------

    def interest_of_source(self) -> int:
        """Events of the source's socket that matter now."""
        if self.is_closed or self.connecting:
            return 0
        return (EVENT_READ if self.from_source.wants_more else 0) | (
            EVENT_WRITE if self.to_source.held else 0
        )

    def interest_of_destination(self) -> int:
        """Events of the destination's socket that matter now."""
        if self.is_closed or self.must_retry:
            return 0
        if self.connecting:
            return EVENT_WRITE
        return (EVENT_READ if self.from_destination.wants_more else 0) | (
            EVENT_WRITE if self.to_destination.held else 0
        )


def close(sock: socket.socket, *, is_reset: bool) -> None:
    """Close ``sock``, with a reset where it has one."""
    if is_reset and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
