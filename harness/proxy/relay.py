"""The **relay**: the thread between source and destination (``harness.proxy`` has the way).

Each connection of the source is connected onward to the destination.  Ends, resets and full
sockets are passed on as they are.  A fault or a relay that fails closes everything, which no
QEMU takes for success, and sets ``failure``.
"""

import contextlib
import heapq
import os
import selectors
import socket
import threading
import time
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE

from harness.history import wire
from harness.proxy.address import BACKLOG, Address, stranger
from harness.proxy.chain import Chain, Fired
from harness.proxy.connection import RAW, Connection, close
from harness.proxy.cut_through import PIECE, CutThrough, DigestingCutThrough
from harness.proxy.events import Due, Notified, Refused, Waiting
from harness.proxy.executor import Executor
from harness.proxy.main_forwarder import MainForwarder
from harness.proxy.multifd_forwarder import MultifdForwarder
from harness.proxy.pipe import Pipe
from harness.proxy.recorder import Record, Recorder
from harness.proxy.store_and_forward import StoreAndForward
from harness.proxy.tapped import Tap
from harness.scenario.fault_plan import Refusal

_RETRY_S = 0.005  # a unix listener's queue was full; the kernel does not notify when it has room
_RETRY_TOKEN = -1


class Relay:
    """To use it: construct, ``start``, give ``address`` to the source's ``migrate``, ``close``.

    :param listen: where the source shall connect to
    :param onward: where the destination listens
    :param record: called in the relay's thread with all that is seen
    :param page_size: of the target; it decides the length of a RAM packet's head
    :param has_digests: record the digest of each packet's data where no fault touches packets,
        too; the data is copied for it
    :param reads_main: read the main channel as it passes; only of a migration with multifd,
        where RAM is not on it
    :param keeps_payload: record the data of packets too (the recorder holds all of it)
    :param tap: gets every byte that comes from the source on main and multifd channels,
        which are then copied instead of spliced
    :ivar address: where it listens
    :ivar failure: the error that ended the relay; the run is lost then
    """

    def __init__(
        self,
        listen: Address,
        onward: Address,
        chain: Chain,
        record: Record,
        page_size: int = 4096,
        *,
        keeps_payload: bool = False,
        has_digests: bool = False,
        reads_main: bool = False,
        tap: Tap | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self._onward = onward
        self._page_size = page_size
        self._has_digests = has_digests
        self._reads_main = reads_main
        self._tap = tap
        self._chain = chain
        self._recorder = Recorder(record, keeps_payload)
        self._executor = Executor(chain, self._recorder, self._after)
        self._stores_packets = keeps_payload or not chain.is_empty
        self._connections: list[Connection] = []
        self._changed: set[Connection] = set()
        self._accepted = 0
        self._notified: deque[Notified] = deque()
        self._due: list[tuple[float, int, int]] = []
        self._timers = 0
        self._is_closing = False
        self._is_held_back = False
        self._is_letting_in = chain.lets_in is None
        self._refusals = chain.refusals
        self._listener = listen.listen(BACKLOG if self._is_letting_in else listen.held_backlog)
        self.address: Address = listen.bound(self._listener)
        self._is_listening = True
        if self._refusals.get(0) is Refusal.NOT_LISTENING:
            self._stop_listening()  # before the source can connect
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def fired(self) -> list[Fired]:
        """What each fault of the chain has done so far."""
        return self._chain.fired

    @property
    def thread_id(self) -> int:
        """Of its thread, once it was started."""
        return self._thread.native_id or 0

    @property
    def is_waiting(self) -> bool:
        """Whether something is to happen after a time; from any thread."""
        return bool(self._due or self._notified)

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()

    def notify(self, name: str, value: int = 0, device: str = "") -> None:
        """Notify the faults of an outside event (``events.Notified``); from any thread."""
        self._notified.append(Notified(name, value, device))
        self._wake_up()

    def close(self) -> None:
        """Close every connection and wait for the thread; called again it does nothing."""
        if self._wake < 0:
            return
        self._is_closing = True
        if self._thread.ident is not None:
            self._wake_up()
            self._thread.join()
        self._listener.close()
        self.address.remove()
        os.close(self._wake)
        self._wake = -1

    def _wake_up(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    # -- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        self._pipe = Pipe()
        self._scratch = memoryview(bytearray(PIECE))
        self._watched: dict[socket.socket, int] = {}
        with selectors.DefaultSelector() as self._selector:
            try:
                self._serve()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the run is lost
                self.failure = error
            left = list(self._connections)
            for connection in left:
                connection.close(is_reset=self.failure is not None)
                self._drop(connection)
        self._listener.close()
        self._pipe.close()
        if self.failure is None:
            try:
                for connection in left:
                    self._record_closed(connection)
            except BaseException as error:  # noqa: BLE001 - the recorder's: the run is lost, too
                self.failure = error

    def _serve(self) -> None:
        # Woken by each write of the source, it would take the processor from it again and
        # again, for a few KiB at a time.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        if self._is_listening:
            self._watch(self._listener, EVENT_READ, None)
        else:
            self._executor.feed(Refused(0))
        self._selector.register(self._wake, EVENT_READ)
        while not self._is_closing:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, mask in self._selector.select(wait):
                if key.data is not None:
                    connection, is_source = key.data
                    self._ready(connection, is_source, mask)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    os.eventfd_read(self._wake)
            self._feed_what_is_due()
            self._hold_back()
            self._let_in()
            while self._changed:
                self._settle(self._changed.pop())

    def _feed_what_is_due(self) -> None:
        while self._notified:
            self._executor.feed(self._notified.popleft())
        while self._due and self._due[0][0] <= time.monotonic():
            token = heapq.heappop(self._due)[2]
            if token != _RETRY_TOKEN:
                self._executor.feed(Due(token))
                continue
            for connection in self._connections:
                if connection.must_retry and not connection.is_closed:
                    connection.retry()
                    self._check_connecting(connection)

    def _after(self, delay_s: float, token: int) -> None:
        self._timers += 1
        heapq.heappush(self._due, (time.monotonic() + delay_s, self._timers, token))

    # -- connections -----------------------------------------------------------------

    def _accept(self) -> None:
        lets_in = self._chain.lets_in
        if lets_in is not None and self._accepted >= lets_in:
            self._watch(self._listener, 0, None)
            self._executor.feed(Waiting(self._accepted))
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        if (who := stranger(sock)) is not None:
            sock.close()
            self._recorder.record(wire.StrangerRefused(who["pid"], who["uid"]), RAW)
            return
        if (how := self._refusals.get(self._accepted)) is not None:
            self._refuse(sock, how)
            return
        connection = Connection(
            self._accepted, sock, self._onward, self._pipe, self._recorder, self._changed.add,
            self._tap,
        )  # fmt: skip
        self._changed.add(connection)
        self._accepted += 1
        self._connections.append(connection)
        self._check_connecting(connection)
        if self._refusals.get(self._accepted) is Refusal.NOT_LISTENING:
            self._watch(self._listener, 0, None)
            self._stop_listening()
            self._executor.feed(Refused(self._accepted))

    def _refuse(self, sock: socket.socket, how: Refusal) -> None:
        """Close a connection that was accepted."""
        close(sock, is_reset=how is Refusal.RESET)
        self._accepted += 1
        self._executor.feed(Refused(self._accepted - 1))

    def _stop_listening(self) -> None:
        """Let further connections fail; close those that wait to be accepted.

        The socket stays bound: no other process gets its port.
        """
        self._is_listening = False
        self._listener.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # until none waits
            while True:
                close(self._listener.accept()[0], is_reset=True)

    def _check_connecting(self, connection: Connection) -> None:
        if connection.must_retry:
            self._after(_RETRY_S, _RETRY_TOKEN)
        elif connection.is_refused:
            reason = os.strerror(connection.connecting)
            refused = wire.ChannelRefused(connection.number, reason)
            self._recorder.record(refused, connection.channel)
            connection.close(is_reset=True)

    def _ready(self, connection: Connection, is_source: bool, mask: int) -> None:
        if connection.is_closed:
            return
        if is_source:
            if mask & EVENT_WRITE:
                connection.to_source.flush()
            if mask & EVENT_READ:
                self._read_source(connection)
        elif connection.connecting:
            connection.finish_connecting()
            self._check_connecting(connection)
        else:
            if mask & EVENT_WRITE:
                connection.to_destination.flush()
            if mask & EVENT_READ:
                connection.from_destination.read()

    def _read_source(self, connection: Connection) -> None:
        if not connection.is_known:
            make_main = self._main_forwarder if self._reads_main else None
            if not connection.look(self._multifd_forwarder, make_main):
                return
            if not connection.from_source.is_multifd:  # which is opened by its hello
                self._executor.opened(connection)
        connection.read()

    def _main_forwarder(self, connection: Connection) -> MainForwarder:
        return MainForwarder(connection, self._executor)

    def _multifd_forwarder(self, connection: Connection) -> MultifdForwarder:
        if self._stores_packets:
            return StoreAndForward(connection, self._executor, self._page_size)
        if self._has_digests:
            return DigestingCutThrough(connection, self._executor, self._page_size, self._scratch)
        return CutThrough(connection, self._executor, self._page_size)

    def _hold_back(self) -> None:
        """Read no packets while a fault is full."""
        is_full = self._chain.is_full
        if is_full == self._is_held_back:
            return
        self._is_held_back = is_full
        for connection in self._connections:
            if connection.from_source.is_multifd:
                connection.from_source.pause(is_full)

    def _let_in(self) -> None:
        """Accept the connections that the faults let in by now."""
        if self._is_letting_in or not self._is_listening:
            return
        lets_in = self._chain.lets_in
        if lets_in is None:
            self._is_letting_in = True
            self._listener.listen(BACKLOG)
        if lets_in is None or self._accepted < lets_in:
            self._watch(self._listener, EVENT_READ, None)

    def _settle(self, connection: Connection) -> None:
        """Something has happened to it: pass that on, and wait for what matters now."""
        connection.settle()
        for side, reader in connection.just_ended():
            ended = wire.ChannelEnded(connection.number, side, reader.is_reset)
            self._recorder.record(ended, connection.channel)
            if reader is connection.from_source and reader.is_multifd:
                self._executor.source_ended(connection)
            elif connection.is_left and connection.from_source.is_multifd:
                self._executor.feed(Notified("channel_ended"))
        connection.settle()
        if connection.is_closed and connection in self._connections:
            self._drop(connection)
            self._record_closed(connection)
        elif not connection.is_closed:
            self._watch(connection.source, connection.interest_of_source(), (connection, True))
            self._watch(
                connection.destination, connection.interest_of_destination(), (connection, False)
            )

    def _watch(
        self, sock: socket.socket, interest: int, data: tuple[Connection, bool] | None
    ) -> None:
        before = self._watched.get(sock, 0)
        if interest == before:
            return
        self._watched[sock] = interest
        if not interest:
            self._selector.unregister(sock)
            del self._watched[sock]
        elif before:
            self._selector.modify(sock, interest, data)
        else:
            self._selector.register(sock, interest, data)

    def _drop(self, connection: Connection) -> None:
        self._connections.remove(connection)
        self._watch(connection.source, 0, None)
        self._watch(connection.destination, 0, None)
        connection.dispose()

    def _record_closed(self, connection: Connection) -> None:
        sent = connection.to_destination.sent, connection.to_source.sent
        self._recorder.record(wire.ChannelClosed(connection.number, *sent), connection.channel)
