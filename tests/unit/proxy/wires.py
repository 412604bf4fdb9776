"""A relay between a source and a destination that are threads and sockets of the test."""

import os
import socket
import threading
from collections.abc import Sequence

from harness.history import Body
from harness.proxy.address import Address, TcpAddress
from harness.proxy.chain import build
from harness.proxy.recorder import Record, Seen
from harness.proxy.relay import Relay
from harness.scenario import fault_plan as plan
from tests.unit.proxy.streams import TIMEOUT_S, new_address, receive


class Wire:
    """A relay, and what connects to it and is connected to by it."""

    def __init__(
        self,
        faults: Sequence[plan.Fault] = (),
        *,
        tcp: bool = False,
        record: Record | None = None,
        **args,
    ) -> None:
        self.seen: list[Seen] = []
        self.is_seen = threading.Condition()
        self.sockets: list[socket.socket] = []
        listen = self._address(tcp)
        self.listener = listen.listen()
        self.listener.settimeout(TIMEOUT_S)
        onward = listen.bound(self.listener)
        record = self._record if record is None else record
        self.relay = Relay(self._address(tcp), onward, build(faults, 0), record, **args)
        self.relay.start()

    @staticmethod
    def _address(tcp: bool) -> Address:
        return TcpAddress() if tcp else new_address()

    def _record(self, seen: Seen) -> None:
        with self.is_seen:
            self.seen.append(seen)
            self.is_seen.notify_all()

    def connect(self) -> socket.socket:
        """The source's end of a connection."""
        address = self.relay.address
        sock = address.make_socket()
        sock.settimeout(TIMEOUT_S)
        self.sockets.append(sock)
        if error := address.connect(sock):
            raise OSError(error, os.strerror(error))
        return sock

    def channel(self, first: bytes) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection that begins with ``first``."""
        source = self.connect()
        source.sendall(first)
        destination, _ = self.listener.accept()
        destination.settimeout(TIMEOUT_S)
        self.sockets.append(destination)
        assert receive(destination, len(first)) == first
        return source, destination

    def of(self, kind: type[Body]) -> list[Seen]:
        return [seen for seen in self.seen if isinstance(seen.body, kind)]

    def wait_for(self, kind: type[Body], count: int = 1) -> list[Seen]:
        with self.is_seen:
            assert self.is_seen.wait_for(lambda: len(self.of(kind)) >= count, TIMEOUT_S), kind
        return self.of(kind)

    def close(self) -> None:
        self.relay.close()
        for sock in (*self.sockets, self.listener):
            sock.close()
