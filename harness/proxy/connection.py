"""Two sockets that belong together: the source's, and the one to the destination."""

import errno
import socket
import struct
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE

from harness.history import Side
from harness.proxy.address import Address, tune
from harness.proxy.events import MAIN
from harness.proxy.flow import Flow
from harness.proxy.main_flow import MainFlow
from harness.proxy.multifd_flow import MultifdFlow
from harness.proxy.outlet import OnSent, Outlet, nobody
from harness.proxy.pipe import Pipe
from harness.proxy.tapped import Tap, TappedSocket
from harness.wire.packets import MAGIC

QEMU_VM_FILE_MAGIC = b"QEVM"
MULTIFD_MAGIC = MAGIC.to_bytes(4, "big")
TLS_HANDSHAKE = b"\x16\x03"
"""A TLS record of type handshake, major version 3 (RFC 8446, 5.1): how a ClientHello begins."""
UNKNOWN, RAW = -3, -2
"""Channel numbers of a connection that has not said enough, and of neither kind."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with a reset


class Connection:
    """A connection of the source, passed on to the destination.

    :ivar channel: multifd channel, ``MAIN``, ``RAW`` or ``UNKNOWN``
    :ivar forward: from the source; until it is known what it is, only its first bytes are read
    :ivar backward: from the destination
    """

    def __init__(
        self,
        number: int,
        source: socket.socket,
        onward: Address,
        pipe: Pipe,
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
        """Whether the first bytes have told what it is."""
        self._onward = onward
        tune(source)
        self.destination = onward.make_socket()
        tune(self.destination)
        self.connecting = onward.connect(self.destination)
        self._changed = changed
        self.to_source = Outlet(source, pipe, self.changed)
        self.to_destination = Outlet(self.destination, pipe, self.changed)
        self.to_destination.is_ready = not self.connecting
        self.to_destination.is_copying = tap is not None
        self.forward: Flow = Flow(source, self.to_destination, self.changed)
        self.backward: Flow = Flow(self.destination, self.to_source, self.changed)
        self._ended: set[Side] = set()
        self._is_reset = False
        self._first = b""
        self._deferred: list[tuple[tuple[bytes, ...], OnSent, OnSent]] = []

    def changed(self) -> None:
        """``settle`` and the interests have to be looked at."""
        self._changed(self)

    @property
    def is_multifd(self) -> bool:
        """Whether it is a multifd channel, or was one until it was damaged."""
        return isinstance(self.forward, MultifdFlow)

    # -- beginning -------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """What its first bytes have told: main, multifd, tls, or raw."""
        if self.channel == RAW:
            return "tls" if self._first.startswith(TLS_HANDSHAKE) else "raw"
        return "main" if self.channel == MAIN else "multifd"

    @property
    def must_retry(self) -> bool:
        """A unix listener's queue is full: nobody will say when it no longer is."""
        return self.connecting == errno.EAGAIN

    @property
    def is_refused(self) -> bool:
        """Whether the destination cannot be reached."""
        return self.connecting not in (0, errno.EAGAIN, errno.EINPROGRESS)

    def retry(self) -> None:
        """Connect again."""
        self._set_connecting(self._onward.connect(self.destination))

    def finish_connecting(self) -> None:
        """The socket says that connecting has ended, well or not."""
        self._set_connecting(self.destination.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _set_connecting(self, error: int) -> None:
        self.connecting = error
        self.to_destination.is_ready = not error
        self.changed()

    def look(
        self,
        make_multifd: Callable[["Connection"], MultifdFlow],
        make_main: Callable[["Connection"], MainFlow] | None = None,
    ) -> bool:
        """Read the first bytes; whether they have told what the connection is.

        :param make_main: None: a main channel is passed on unread
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
            flow = self.forward = make_multifd(self)
            flow.take_head(self._first)
            return True
        self.channel = MAIN if self._first == QEMU_VM_FILE_MAGIC else RAW
        if self.channel == MAIN and make_main is not None:
            main = self.forward = make_main(self)
            main.take(self._first)
        else:
            self.to_destination.write(self._first)
        return True

    def read(self) -> None:
        """Take what the source has sent, once it is known what it is."""
        self.forward.read()
        if isinstance(self.source, TappedSocket):
            self.source.tell()  # if it was not known before now

    # -- sending ---------------------------------------------------------------------

    def deliver(self, *parts: bytes, on_sent: OnSent, on_lost: OnSent = nobody) -> None:
        """Send a packet to the destination, between two others."""
        if isinstance(self.forward, MultifdFlow) and self.forward.is_inside:
            self._deferred.append((parts, on_sent, on_lost))
        else:
            self.to_destination.write(*parts, on_sent=on_sent, on_lost=on_lost)

    def deliver_deferred(self) -> None:
        """The channel stands between two packets: send what has waited for that."""
        deferred, self._deferred = self._deferred, []
        for parts, on_sent, on_lost in deferred:
            self.to_destination.write(*parts, on_sent=on_sent, on_lost=on_lost)

    def end(self) -> None:
        """Pass the source's end on, behind what is left of a packet that it ended in."""
        self.deliver_deferred()
        if isinstance(self.forward, MultifdFlow):
            self.to_destination.write(self.forward.rest)
        self.to_destination.end()

    # -- ending ----------------------------------------------------------------------

    def break_off(self, is_abrupt: bool) -> None:
        """Close both ends; what is held still goes out, unless it is abrupt."""
        if is_abrupt:
            self.close(is_reset=True)
            return
        self.forward.stop()
        self.backward.stop()
        self.to_source.end()
        self.end()

    def settle(self) -> None:
        """Carry on what has happened to one end to the other; close what is over."""
        if self.is_closed:
            return
        pairs = (
            (self.forward, self.to_source, self.to_destination),
            (self.backward, self.to_destination, self.to_source),
        )
        if any(flow.is_reset or outlet.is_reset for flow, _, outlet in pairs):
            self.close(is_reset=True)
            return
        for flow, to_origin, _ in pairs:
            if flow.is_gone and not flow.is_open:
                to_origin.give_up()  # whoever has closed takes nothing more
        for flow, _, outlet in pairs:
            if outlet.is_broken and flow.is_open:
                flow.stop()
        if all(not flow.is_open and outlet.is_over for flow, _, outlet in pairs):
            self.close(is_reset=False)

    def just_ended(self) -> list[tuple[Side, Flow]]:
        """The sides that send no more, each of them once."""
        flows = ((Side.SOURCE, self.forward), (Side.DESTINATION, self.backward))
        found = [
            (side, flow) for side, flow in flows if not flow.is_open and side not in self._ended
        ]
        self._ended.update(side for side, _ in found)
        return found

    def close(self, is_reset: bool) -> None:
        """Nothing goes either way any more; ``dispose`` tells the peers."""
        if self.is_closed:
            return
        self.is_closed = True
        self._is_reset = is_reset
        self.forward.is_open = self.backward.is_open = False
        self.to_source.give_up()
        self.to_destination.give_up()
        self.deliver_deferred()  # lost, too
        self.changed()

    def dispose(self) -> None:
        """Close both sockets."""
        for sock in (self.source, self.destination):
            if self._is_reset and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()

    # -- what to wait for ------------------------------------------------------------

    def interest_of_source(self) -> int:
        """Events of the source's socket that matter now."""
        if self.is_closed or self.connecting:
            return 0
        return (EVENT_READ if self.forward.wants_more else 0) | (
            EVENT_WRITE if self.to_source.held else 0
        )

    def interest_of_destination(self) -> int:
        """Events of the destination's socket that matter now."""
        if self.is_closed or self.must_retry:
            return 0
        if self.connecting:
            return EVENT_WRITE
        return (EVENT_READ if self.backward.wants_more else 0) | (
            EVENT_WRITE if self.to_destination.held else 0
        )
