"""A connection with a forwarder of a kind, whose far ends we have."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from harness.history import Body, wire
from harness.proxy.chain import Chain
from harness.proxy.connection import Connection
from harness.proxy.cut_through import PIECE, CutThrough, DigestingCutThrough
from harness.proxy.events import Arrived, Command, Event, Greet, Greeted, Notified
from harness.proxy.executor import Executor
from harness.proxy.forwarder import Forwarder
from harness.proxy.main_forwarder import MainForwarder
from harness.proxy.pipe import Pipe
from harness.proxy.recorder import Recorder, Seen
from harness.proxy.store_and_forward import StoreAndForward
from harness.wire.packets import DeviceStatePacket, MultiFDInit
from tests.unit.proxy.streams import TIMEOUT_S, new_address, pair, receive, receive_all

CUT_THROUGH = ("cut through", "cut through with digest")
KINDS = (*CUT_THROUGH, "store and forward")


class Catcher(Chain):
    """A chain that keeps what it is given, and passes hellos on."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[DeviceStatePacket] = []
        self.hellos: list[MultiFDInit] = []
        self.notified: list[Notified] = []
        self.hello_out: MultiFDInit | None = None
        """Passed on in place of any hello."""
        self.on_notified: Callable[[str], None] = lambda _name: None

    def handle(self, event: Event) -> Iterator[Command]:
        match event:
            case Arrived(packet=packet):
                self.packets.append(packet)
            case Greeted(channel, hello):
                self.hellos.append(hello)
                yield Greet(channel, self.hello_out or hello)
            case Notified(name):
                self.notified.append(event)
                self.on_notified(name)


class Ends:
    """A connection from ``writer`` to ``reader``; its forwarder is of a kind, or "main"."""

    def __init__(self, kind: str) -> None:
        self.seen: list[Seen] = []
        self.pipe = Pipe()
        self.chain = Catcher()
        recorder = Recorder(self.seen.append)
        self.executor = Executor(self.chain, recorder, lambda _delay_s, _token: None)
        ours, self.writer = pair()
        address = new_address()
        with address.listen() as listener:
            self.connection = Connection(1, ours, address, self.pipe, recorder, lambda _: None)
            self.reader, _ = listener.accept()
        self.reader.settimeout(TIMEOUT_S)
        self.forwarder = self.connection.from_source = self._forwarder(kind)
        self.outlet = self.connection.to_destination
        self.taken = 0

    def _forwarder(self, kind: str) -> Forwarder:
        match kind:
            case "main":
                return MainForwarder(self.connection, self.executor)
            case "cut through":
                return CutThrough(self.connection, self.executor)
            case "cut through with digest":
                scratch = memoryview(bytearray(PIECE))
                return DigestingCutThrough(self.connection, self.executor, 4096, scratch)
        return StoreAndForward(self.connection, self.executor)

    def of(self, kind: type[Body]) -> list[Any]:
        """What was seen, as ``Seen``, its body of this ``kind``."""
        return [seen for seen in self.seen if isinstance(seen.body, kind)]

    @property
    def damages(self) -> list[str]:
        return [seen.body.what for seen in self.of(wire.Damaged)]

    def pass_on(self, data: bytes, cuts: int = 0) -> bytes:
        """Send ``data``, in pieces if ``cuts``, and let it flow; what comes out."""
        rng = random.Random(cuts)
        out = b""
        while data:
            size = rng.randint(1, cuts) if cuts else min(len(data), 100_000)
            self.writer.sendall(data[:size])
            data = data[size:]
            before = -1
            while self.forwarder.is_open and before != self.outlet.sent:
                before = self.outlet.sent
                self.forwarder.read()
            out += receive(self.reader, self.outlet.sent - self.taken - len(out))
        self.taken += len(out)
        return out

    def end(self) -> bytes:
        """Close the writer; what still comes out."""
        self.writer.close()
        self.forwarder.read()
        self.connection.end()
        return receive_all(self.reader)

    def close(self) -> None:
        self.connection.dispose()
        for sock in (self.writer, self.reader):
            sock.close()
        self.pipe.close()
