"""A client: it asks a server one thing at a time, and waits for the reply."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from harness.errors import DeviceLost
from harness.vfio_user.connection import Closed, Connection, Message
from harness.vfio_user.messages import (
    Command,
    DmaAccess,
    Flag,
    MigData,
    ProtocolError,
    RegionAccess,
    Version,
    name_of,
)

ReadMemory = Callable[[int, int], bytes]
WriteMemory = Callable[[int, bytes], None]


class Client:
    """A connection to the server of device ``name``.

    A server that is gone, does not answer in time or breaks the protocol is lost: each call raises
    EIO from then on.

    :param limit_s: most time for one reply
    :ivar failure: why the server is lost; None if it is not
    :ivar read_dma: what answers DMA_READ: an address and a count; raises an OSError
    :ivar write_dma: what does DMA_WRITE
    """

    def __init__(self, name: str, connection: Connection, limit_s: float) -> None:
        self.name = name
        self.failure: DeviceLost | None = None
        self.read_dma: ReadMemory | None = None
        self.write_dma: WriteMemory | None = None
        self._connection = connection
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._number = 0
        self._asked_since: float | None = None
        self._most_data = Version().most_data
        self._most_fds = 1

    @property
    def is_asking(self) -> bool:
        """Whether a reply is awaited; from any thread."""
        return self._asked_since is not None

    @property
    def most_data(self) -> int:
        """Most bytes of data in one message."""
        return self._most_data

    @property
    def most_fds(self) -> int:
        """Most descriptors in one message to the server."""
        return self._most_fds

    def negotiate(self) -> None:
        """Agree on a version.

        :raise OSError: the server refuses it, or is lost
        """
        ours = Version()
        payload = self.ask(Command.VERSION, ours.pack())
        with self.reading(Command.VERSION):
            theirs = Version.parse(payload)
        if theirs.major != ours.major or theirs.minor > ours.minor:
            said = f"{theirs.major}.{theirs.minor}, and the client {ours.major}.{ours.minor}"
            raise self._lose(f"it speaks version {said}")
        self._most_data = min(ours.most_data, theirs.most_data)
        self._most_fds = theirs.most_fds

    def ask(self, command: Command, payload: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        """The payload of the reply to ``command``.

        :raise OSError: with the errno of the server; EIO if it is lost
        """
        with self._lock:
            if self.failure is not None:
                raise OSError(errno.EIO, str(self.failure))
            self._asked_since = time.monotonic()
            try:
                reply = self._exchange(command, payload, fds)
            except TimeoutError as error:
                why = f"it has not answered {command.name} within {self._limit_s:g} s"
                raise self._lose(why) from error
            except Closed as error:
                raise self._lose(f"it ended the connection at {command.name}") from error
            except ProtocolError as error:
                raise self._lose(f"it answered {command.name} with {error}") from error
            except OSError as error:
                why = error.strerror or str(error)
                raise self._lose(f"the connection broke at {command.name}: {why}") from error
            finally:
                self._asked_since = None
        reply.close_fds()  # the client takes none
        if reply.header.is_error:
            number = reply.header.errno or errno.EIO
            raise OSError(number, os.strerror(number))
        return reply.payload

    def _exchange(self, command: Command, payload: bytes, fds: Sequence[int]) -> Message:
        until = time.monotonic() + self._limit_s
        self._number = (self._number + 1) & 0xFFFF
        self._connection.send(self._number, command, payload, fds=fds, until=until)
        while True:
            received = self._connection.receive(until)
            header = received.header
            if not header.is_reply:
                self._answer(received, until)
                continue
            if (header.number, header.command) != (self._number, command):
                received.close_fds()
                raise ProtocolError(
                    f"the reply to {name_of(header.command)} number {header.number}, "
                    f"not number {self._number}"
                )
            return received

    def _answer(self, received: Message, until: float) -> None:
        """Do what the server asks for: it has no descriptor of the memory."""
        header = received.header
        received.close_fds()
        payload, number = b"", 0
        try:
            payload = self._access(header.command, received.payload)
        except OSError as error:
            number = error.errno or errno.EFAULT
        if header.flags & Flag.NO_REPLY:
            return
        flags = Flag.REPLY | (Flag.ERROR if number else Flag(0))
        self._connection.send(
            header.number, header.command, payload, flags=flags, errno=number, until=until
        )

    def _access(self, command: int, payload: bytes) -> bytes:
        """The payload of the reply to DMA_READ or DMA_WRITE; OSError if it is refused."""
        if command == Command.DMA_READ and self.read_dma is not None:
            access = DmaAccess.parse(payload, has_data=False)
            data = self.read_dma(access.address, access.count)
            return DmaAccess(access.address, access.count, data).pack()
        if command == Command.DMA_WRITE and self.write_dma is not None:
            access = DmaAccess.parse(payload, has_data=True)
            self.write_dma(access.address, access.data)
            return DmaAccess(access.address, access.count).pack()
        raise OSError(errno.ENOTSUP, name_of(command))

    @contextlib.contextmanager
    def reading(self, command: Command) -> Iterator[None]:
        """In this block a reply to ``command`` is parsed: one that is damaged loses the server."""
        try:
            yield
        except ProtocolError as error:
            raise self._lose(f"it answered {command.name} with {error}") from error

    def _lose(self, why: str) -> OSError:
        """The server is lost: what is to be raised."""
        if self.failure is None:
            self.failure = DeviceLost(f"{self.name}: the vfio-user server is lost: {why}")
        return OSError(errno.EIO, str(self.failure))

    # -- messages with data --------------------------------------------------------------

    def region_read(self, region: int, offset: int, count: int) -> bytes:
        """``count`` bytes of a region, in as many messages as that takes."""
        pieces = []
        for at in range(0, count, self._most_data):
            size = min(self._most_data, count - at)
            payload = self.ask(Command.REGION_READ, RegionAccess(region, offset + at, size).pack())
            with self.reading(Command.REGION_READ):
                reply = RegionAccess.parse(payload, has_data=True)
                if reply.count != size:
                    raise ProtocolError(f"{reply.count} bytes of {size}")
            pieces.append(reply.data)
        return b"".join(pieces)

    def region_write(self, region: int, offset: int, data: bytes) -> None:
        """Write ``data`` to a region, in as many messages as that takes."""
        for at in range(0, len(data), self._most_data):
            piece = data[at : at + self._most_data]
            request = RegionAccess(region, offset + at, len(piece), piece)
            self.ask(Command.REGION_WRITE, request.pack())

    def read_state(self, asked: int) -> bytes:
        """The next bytes of the device's state, at most ``asked``; none at its end."""
        size = min(asked, self._most_data)
        payload = self.ask(Command.MIG_DATA_READ, MigData(size).pack())
        with self.reading(Command.MIG_DATA_READ):
            reply = MigData.parse(payload, has_data=True)
            if reply.size > size:
                raise ProtocolError(f"{reply.size} bytes of state, and {size} were asked for")
        return reply.data

    def write_state(self, data: bytes) -> None:
        """The next bytes of the device's state, of which one message can have ``most_data``."""
        self.ask(Command.MIG_DATA_WRITE, MigData(len(data), data).pack())

    def end(self) -> None:
        """Let a call that waits end, in any thread."""
        self._connection.shut_down()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
