"""A flow of either kind between two socket pairs."""

import random

from harness.proxy.cut_through import PIECE, CutThroughFlow
from harness.proxy.multifd_flow import MultifdFlow
from harness.proxy.outlet import Outlet
from harness.proxy.pipe import Pipe
from harness.proxy.whole_packets import WholePacketsFlow
from harness.wire.framing import Framer
from tests.unit.proxy.streams import Heard, pair, receive, receive_all

KINDS = {"cut through": CutThroughFlow, "whole packets": WholePacketsFlow}


class Ends:
    """A flow of a kind from ``writer`` to ``reader``."""

    def __init__(self, kind: str) -> None:
        self.origin, self.writer = pair()
        self.sink, self.reader = pair()
        self.pipe = Pipe()
        self.heard = Heard()
        self.outlet = Outlet(self.sink, self.pipe, lambda: None)
        framer = Framer("source, channel 1")
        args = (self.origin, self.outlet, lambda: None, framer, self.heard)
        scratch = (memoryview(bytearray(PIECE)),) if kind == "cut through" else ()
        self.flow: MultifdFlow = KINDS[kind](*args, *scratch)

    def pass_on(self, data: bytes, cuts: int = 0) -> bytes:
        """Send ``data``, in pieces if ``cuts``, and let it flow; what comes out."""
        rng = random.Random(cuts)
        out = b""
        while data:
            size = rng.randint(1, cuts) if cuts else min(len(data), 100_000)
            self.writer.sendall(data[:size])
            data = data[size:]
            before = -1
            while self.flow.is_open and before != self.outlet.sent:
                before = self.outlet.sent
                self.flow.read()
            out += receive(self.reader, self.outlet.sent - self.taken - len(out))
        self.taken += len(out)
        return out

    taken = 0

    def end(self) -> bytes:
        """Close the writer; what still comes out, as ``Connection.end`` lets it."""
        self.writer.close()
        self.flow.read()
        if isinstance(self.flow, MultifdFlow):
            self.outlet.write(self.flow.rest)
        self.outlet.end()
        return receive_all(self.reader)

    def close(self) -> None:
        for sock in (self.origin, self.writer, self.sink, self.reader):
            sock.close()
        self.pipe.close()
