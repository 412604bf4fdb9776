"""A server for one emulated device, in a thread of its own."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from harness.history.device import Arc, Reset
from harness.history.device import ServerFault as FaultSeen
from harness.history.records import Body
from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import ServerDoes
from harness.supervisor.memory import Memfd
from harness.vfio_user.connection import Connection, Message
from harness.vfio_user.messages import Flag, ProtocolError, name_of
from harness.vfio_user.target import Reply, Target

_JOIN_S = 5.0
_PADDING = 64


class Server:
    """The server of ``spec`` for the QEMU of ``side``; one client, once.

    :param sees_device: whether ``observe`` records all that the device does; else its client does
    :ivar failure: why it ended before it was closed: a bug of the harness
    """

    def __init__(
        self, spec: VfioUserDevice, side: str, observe: Callable[[Body], None], *, sees_device: bool
    ) -> None:
        self._observe = observe
        self.regions = Memfd.for_regions(f"vfio-user-{side}-{spec.id}")
        self.target = Target(
            spec, side, self.regions, observe if sees_device else self._observe_rest
        )
        self.failure: BaseException | None = None
        self._faults = [fault for fault in spec.server_faults if fault.side == side]
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._folder = ""
        self._ended = threading.Event()

    # -- connections -------------------------------------------------------------------

    def connect(self) -> socket.socket:
        """The client's end of a new connection, which is served from now on."""
        ours, theirs = socket.socketpair()
        self._start(lambda: ours)
        return theirs

    def listen(self) -> Path:
        """The path of a socket; who connects is served."""
        self._folder = tempfile.mkdtemp(prefix="vfio-user-")
        path = Path(self._folder) / "socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._start(self._accept)
        return path

    def _accept(self) -> socket.socket | None:
        assert self._listener is not None
        try:
            found, _ = self._listener.accept()
        except OSError:  # closed before anything connected
            return None
        self._remove()  # nothing else connects
        return found

    def _remove(self) -> None:
        if self._folder:
            with contextlib.suppress(OSError):
                (Path(self._folder) / "socket").unlink()
            with contextlib.suppress(OSError):
                Path(self._folder).rmdir()
            self._folder = ""

    def _start(self, connected: Callable[[], socket.socket | None]) -> None:
        def run() -> None:
            try:
                found = connected()
                if found is not None:
                    self._connection = Connection(found)
                    with contextlib.closing(self._connection):
                        self._serve(self._connection)
            except BaseException as error:  # noqa: BLE001 - the run is lost
                self.failure = error

        self._thread = threading.Thread(target=run, name="vfio-user-server", daemon=True)
        self._thread.start()

    @property
    def thread_id(self) -> int:
        """Of its thread; 0 before it is there."""
        return (self._thread and self._thread.native_id) or 0

    def close(self) -> None:
        """End it; called again, it does nothing."""
        self._ended.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._connection is not None:
            self._connection.shut_down()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():  # its memory is in use
                return
        self._remove()
        self.regions.close()

    # -- serving -----------------------------------------------------------------------

    def _serve(self, connection: Connection) -> None:
        while True:
            try:
                received = connection.receive()
            except (OSError, ProtocolError):  # the client is gone, or out of step
                return
            try:
                if not self._answered(connection, received):
                    return
            except OSError:
                return
            finally:
                received.close_fds()

    def _answered(self, connection: Connection, received: Message) -> bool:
        """Answer it; False if no more is answered."""
        header = received.header
        if header.is_reply:
            return True
        reply = self.target.answer(header.command, received.payload)
        does = self._due(name_of(header.command))
        if does is ServerDoes.DIE:
            return False
        if does is ServerDoes.STALL:
            self._ended.wait()
            return False
        if header.flags & Flag.NO_REPLY:
            return True
        self._send(connection, header.number, header.command, reply, does)
        return True

    def _send(
        self,
        connection: Connection,
        number: int,
        command: int,
        reply: Reply,
        does: ServerDoes | None,
    ) -> None:
        payload = reply.payload
        fds = [self.regions.fd] if reply.has_regions else []
        match does:
            case ServerDoes.PAD:
                payload += bytes(_PADDING)
            case ServerDoes.CUT:
                payload = payload[:-1]
            case ServerDoes.WRONG_ID:
                number ^= 0xFFFF
            case ServerDoes.SEND_FDS:
                fds = [self.regions.fd] * 3
        flags = Flag.REPLY | (Flag.ERROR if reply.errno else Flag(0))
        connection.send(number, command, payload, flags=flags, errno=reply.errno, fds=fds)

    def _due(self, command: str) -> ServerDoes | None:
        """What is to be done wrong now."""
        count = self.target.asked.get(command, 0) - 1
        for fault in self._faults:
            if (fault.command, fault.nth) == (command, count):
                self._observe(FaultSeen(command=command, nth=fault.nth, does=fault.does))
                return fault.does
        return None

    def _observe_rest(self, args: Body) -> None:
        """What the client does not record itself."""
        if not isinstance(args, Arc | Reset):
            self._observe(args)
