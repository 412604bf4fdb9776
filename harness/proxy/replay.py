"""A **replay**: a thread that plays the source of a capture, for a destination without one.

It does what a source does: it connects the main channel, then the multifd channels; sends
on all of them at once, each as fast as the destination reads; reads the return path; and
closes everything when all is sent and the return path has its SHUT message.  A destination
that ends a channel too early ends the replay, as it would end a migration.
"""

import errno
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE

from harness.errors import UsageError
from harness.proxy.address import Address, tune
from harness.proxy.capture import Capture
from harness.proxy.events import MAIN

_PIECE = 256 << 10
_RETRY_S = 0.005  # a unix listener's queue was full; the kernel does not notify when it has room
_RETURN_MESSAGE = struct.Struct(">HH")  # type, length of its data (QEMU migration.c)
_SHUT = 1  # MIG_RP_MSG_SHUT: the last message; its u32 is 0 where the VM was loaded


class ReturnPath:
    """Reads what a destination sends on the main channel, up to SHUT.

    :ivar size: bytes received
    :ivar shut: value of the SHUT message, 0 if the VM was loaded; None if none came
    """

    def __init__(self) -> None:
        self.size = 0
        self.shut: int | None = None
        self._buffer = bytearray()  # less than one message: that is at most 64 KiB

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self.size += len(data)
        self._buffer += data
        while len(self._buffer) >= _RETURN_MESSAGE.size:
            kind, length = _RETURN_MESSAGE.unpack_from(self._buffer)
            end = _RETURN_MESSAGE.size + length
            if len(self._buffer) < end:
                return
            if kind == _SHUT:
                self.shut = int.from_bytes(self._buffer[_RETURN_MESSAGE.size : end], "big")
            del self._buffer[:end]


@dataclass(eq=False)
class _Lane:
    """One channel of the replay."""

    channel: int
    left: memoryview
    sock: socket.socket
    is_open: bool = True
    sent: int = field(default=0)


class Replayer:
    """To use it: construct, ``start``, ``wait``, ``close``.

    :param address: where a destination, or a relay in front of it, listens
    :param on_end: called in the replay's thread when it has ended
    :ivar return_path: what the destination has sent
    :ivar refused: why the destination did not take all of it; empty if it did, or still may
    :ivar failure: the error that ended the replay itself; the run is lost then
    :raise UsageError: the capture has no main channel
    """

    def __init__(
        self, capture: Capture, address: Address, on_end: Callable[[], None] = lambda: None
    ) -> None:
        if MAIN not in capture.streams:
            raise UsageError(f"{capture.path}: no data of the main channel: capture again")
        self.return_path = ReturnPath()
        self.refused = ""
        self.failure: BaseException | None = None
        self._address = address
        self._on_end = on_end
        self._has_return_path = capture.scenario.return_path
        self._lanes = [  # the main channel is first: it has the lowest number
            _Lane(channel, memoryview(stream), address.make_socket())
            for channel, stream in sorted(capture.streams.items())
        ]
        self._is_closing = False
        self._has_ended = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)

    @property
    def sent(self) -> dict[int, int]:
        """Bytes that the sockets have taken so far, by channel."""
        return {lane.channel: lane.sent for lane in self._lanes}

    @property
    def is_complete(self) -> bool:
        """Whether all bytes of all channels were sent."""
        return not any(lane.left for lane in self._lanes)

    @property
    def thread_id(self) -> int:
        """Of its thread; 0 if that has not begun."""
        return self._thread.native_id or 0

    def start(self) -> None:
        """Play from now on."""
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; whether it came."""
        return self._has_ended.wait(timeout_s)

    def close(self) -> None:
        """Stop it if it still runs, and wait for the thread; called again it does nothing."""
        if self._wake < 0:
            return
        self._is_closing = True
        if self._thread.ident is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        self._close_lanes()
        os.close(self._wake)
        self._wake = -1

    # -- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as self._selector:
                self._selector.register(self._wake, EVENT_READ)
                if self._connect():
                    self._play()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the run is lost
            self.failure = error
        self._close_lanes()
        self._has_ended.set()
        self._on_end()

    def _close_lanes(self) -> None:
        for lane in self._lanes:
            lane.sock.close()

    @property
    def _is_over(self) -> bool:
        return self._is_closing or bool(self.refused)

    def _connect(self) -> bool:
        """Connect one after the other, as a source does; whether all are connected."""
        for lane in self._lanes:
            tune(lane.sock)
            error = self._address.connect(lane.sock)
            while error in (errno.EAGAIN, errno.EINPROGRESS) and not self._is_closing:
                if error == errno.EAGAIN:
                    self._select(_RETRY_S)
                    error = self._address.connect(lane.sock)
                else:
                    self._selector.register(lane.sock, EVENT_WRITE)
                    self._select(None)
                    self._selector.unregister(lane.sock)
                    error = lane.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error and not self._is_closing:
                self._refuse(lane, os.strerror(error))
            if self._is_over:
                return False
        return True

    def _play(self) -> None:
        for lane in self._lanes:
            self._selector.register(lane.sock, EVENT_READ | EVENT_WRITE, lane)
        while not self._is_over and not self._is_done():
            for lane, mask in self._select(None):
                if mask & EVENT_READ:
                    self._receive(lane)
                if mask & EVENT_WRITE and lane.is_open:
                    self._send(lane)

    def _is_done(self) -> bool:
        if not self.is_complete:
            return False
        has_answer = self.return_path.shut is not None or not self._lanes[0].is_open
        return has_answer or not self._has_return_path

    def _select(self, timeout_s: float | None) -> Sequence[tuple[_Lane, int]]:
        ready = self._selector.select(timeout_s)
        return [(key.data, mask) for key, mask in ready if key.data is not None]

    def _send(self, lane: _Lane) -> None:
        try:
            size = lane.sock.send(lane.left[:_PIECE])
        except BlockingIOError:
            return
        except OSError as error:
            self._end(lane, os.strerror(error.errno or 0))
            return
        lane.left = lane.left[size:]
        lane.sent += size
        if not lane.left:
            self._selector.modify(lane.sock, EVENT_READ, lane)

    def _receive(self, lane: _Lane) -> None:
        try:
            data = lane.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(lane, os.strerror(error.errno or 0))
            return
        if not data:
            self._end(lane, "ended by the destination")
        elif lane.channel == MAIN:
            self.return_path.feed(data)

    def _end(self, lane: _Lane, why: str) -> None:
        lane.is_open = False
        self._selector.unregister(lane.sock)
        if lane.left:
            self._refuse(lane, why)

    def _refuse(self, lane: _Lane, why: str) -> None:
        name = "main channel" if lane.channel == MAIN else f"channel {lane.channel}"
        self.refused = self.refused or f"{name}, byte {lane.sent}: {why}"
