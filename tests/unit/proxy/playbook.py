"""Transcripts for sans-IO parts: ``>>`` events go in, ``<<`` commands must come out.

    book = Playbook(fault)
    book >> arrived(0) << deliver(0)
    book.ends()

What comes out and is not expected next fails at once; what has come out and was never
expected fails at ``ends``, which the ``play`` fixture calls.  Notes are kept apart, in
``notes``, unless one is expected.  After mitmproxy's ``Playbook``.
"""

from dataclasses import replace
from typing import Any, Protocol

from harness.proxy.events import Arrived, Command, Deliver, Event, Note
from harness.wire.packets import STATE_CONFIG, DeviceStatePacket


def idstr(slot: int = 2) -> bytes:
    return f"0000:00:{slot:02x}.0/vfio".encode().ljust(256, b"\0")


IDSTR = idstr()


def packet(idx: int, data: bytes | None = None, *, slot: int = 2) -> DeviceStatePacket:
    """Data packet ``idx`` of the device in ``slot``."""
    return DeviceStatePacket(idstr(slot), 0, idx, b"data %d" % idx if data is None else data)


def config(idx: int, *, slot: int = 2) -> DeviceStatePacket:
    return replace(packet(idx, b"config", slot=slot), state_flags=STATE_CONFIG)


def arrived(what: int | DeviceStatePacket, channel: int = 0) -> Arrived:
    return Arrived(channel, packet(what) if isinstance(what, int) else what)


def deliver(what: int | DeviceStatePacket, channel: int = 0) -> Deliver:
    return Deliver(channel, packet(what) if isinstance(what, int) else what)


class Handler(Protocol):
    def handle(self, event: Event) -> Any: ...


class Playbook:
    def __init__(self, handler: Handler) -> None:
        self.handler: Any = handler
        self.notes: list[str] = []
        self._arrivals = 0
        self._out: list[Command] = []

    def __rshift__(self, event: Event) -> "Playbook":
        self.ends()
        if isinstance(event, Arrived):
            event = replace(event, order=self._arrivals)
            self._arrivals += 1
        for command in self.handler.handle(event):
            if isinstance(command, Note):
                self.notes.append(command.what)
            else:
                self._out.append(command)
        return self

    def __lshift__(self, expected: Command) -> "Playbook":
        assert self._out, f"nothing came out, expected {_short(expected)}"
        found = self._out.pop(0)
        assert found == expected, f"\nfound    {_short(found)}\nexpected {_short(expected)}"
        return self

    def taken(self) -> list[Any]:
        """All that has come out, for a test that looks for itself."""
        out, self._out = self._out, []
        return out

    def ends(self) -> None:
        assert not self._out, f"not expected: {', '.join(map(_short, self._out))}"


def _short(command: Command) -> str:
    if not isinstance(command, Deliver):
        return repr(command)
    packet = command.packet
    fields = repr(packet).replace(repr(packet.idstr), repr(packet.device))
    return f"Deliver({command.channel}, {fields}, data={packet.data[:40]!r})"
