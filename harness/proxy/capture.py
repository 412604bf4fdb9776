"""The **capture**: everything that the source of one migration sent, in a file.

A capture lets a destination be tested without a source (``proxy.replay``).  The file::

    b"vfio-multifd capture 1\n"                      kind of file, format version
    i32 channel, u32 size, size bytes                a chunk; size is never 0
    ...                                              in the order in which they came
    i32 -2, u32 size, manifest as msgpack            ``Manifest``
    16 bytes                                         xxh3_128 of that manifest

Integers are big-endian; channels are ``MAIN`` and 0 to 255.  The manifest is behind the
chunks so that these can be written while the migration runs; a file that was cut off has
none.  It has the size and digest of each channel's bytes.
"""

import contextlib
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec
import xxhash

from harness import scenario as scenarios
from harness.errors import HistoryError, UsageError, refusal
from harness.history import private
from harness.history.builds import BuildFacts
from harness.proxy.events import MAIN
from harness.scenario import Scenario
from harness.wire.channel import ChannelReader, Unit
from harness.wire.reader import Need

FORMAT: Final = 1
"""Version of the file's format that this harness writes and reads."""
MAGIC: Final = b"vfio-multifd capture "
MANIFEST_LIMIT: Final = 64 << 20
"""Largest manifest that is read, in bytes; a run of 16 MiB of state has some 100 KiB."""

_MANIFEST = -2
_LINE_LIMIT = len(MAGIC) + 12
_CHUNK = struct.Struct(">iI")
_CHUNK_LIMIT = 1 << 30
_LAST_CHANNEL = 255
_PIECE = 1 << 20
_DIGEST_SIZE = 16


class Stream(msgspec.Struct, frozen=True):
    """The bytes of one channel: how many, and their xxh3_128 in hex."""

    size: int
    digest: str


class CapturedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the source."""

    id: str
    idstr: str
    """Its name on the wire, e.g. ``0000:00:02.0/vfio``."""
    size: int
    """Bytes of its state."""
    digest: str
    """xxh3_128 of them, in hex."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was captured."""

    harness: str
    """Version of the harness that made the capture."""
    scenario: bytes
    """What was run, as JSON (``harness.scenario``)."""
    source: BuildFacts
    destination: BuildFacts
    machine: str
    """The versioned machine type that the source ran, e.g. ``pc-q35-10.0``."""
    channels: int
    """Of multifd."""
    devices: tuple[CapturedDevice, ...]
    page_size: int = 4096
    """Of the target, in bytes."""
    records: bytes = b""
    """Records of the source during the capture, as lines of JSON (``harness.history``)."""
    streams: dict[int, Stream] = {}
    """By channel; the writer fills it in."""


class CaptureWriter:
    """Writes the capture ``path``, which appears complete at ``finish`` or not at all.

    A context manager: left without ``finish``, it leaves no file behind.

    :raise HistoryError: the file cannot be written; ``append`` and ``finish`` raise it too
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.new")
        self._digests: dict[int, xxhash.xxh3_128] = {}
        self._sizes: dict[int, int] = {}
        with self._writing():
            private.write(self._temporary, b"")
            self._file = self._temporary.open("wb", buffering=_PIECE)
            self._file.write(MAGIC + b"%d\n" % FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def append(self, channel: int, data: bytes) -> None:
        """Append the next bytes of ``channel`` (a ``Tap``); none are kept in memory.

        :raise ValueError: there is no such channel
        """
        if not MAIN <= channel <= _LAST_CHANNEL:
            raise ValueError(f"no channel {channel}: it must be {MAIN} to {_LAST_CHANNEL}")
        if not data:
            return
        view = memoryview(data)
        with self._writing():
            for at in range(0, len(view), _CHUNK_LIMIT):
                chunk = view[at : at + _CHUNK_LIMIT]
                self._file.write(_CHUNK.pack(channel, len(chunk)))
                self._file.write(chunk)
        self._sizes[channel] = self._sizes.get(channel, 0) + len(data)
        self._digests.setdefault(channel, xxhash.xxh3_128()).update(data)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, with the streams' sizes and digests, and name the file ``path``."""
        streams = {
            channel: Stream(self._sizes[channel], digest.hexdigest())
            for channel, digest in self._digests.items()
        }
        encoded = msgspec.msgpack.encode(msgspec.structs.replace(manifest, streams=streams))
        if len(encoded) > MANIFEST_LIMIT:
            raise HistoryError(
                f"{self.path}: its manifest would have {len(encoded)} bytes, more than "
                f"{MANIFEST_LIMIT}; capture fewer devices or a shorter scenario"
            )
        with self._writing():
            self._file.write(_CHUNK.pack(_MANIFEST, len(encoded)))
            self._file.write(encoded)
            self._file.write(xxhash.xxh3_128_digest(encoded))
            self._file.close()
            self._temporary.replace(self.path)

    def discard(self) -> None:
        """Discard the capture; after ``finish`` it does nothing."""
        with contextlib.suppress(OSError):  # of what could not be written before
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise HistoryError(f"{self.path}: cannot write: {error.strerror}") from error


class Capture:
    """A capture; once read, it takes about as much memory as its file has bytes.

    :ivar path: its file
    :ivar manifest: what was captured
    :ivar scenario: what was run
    :ivar streams: all bytes of each channel, by its number; the main channel's is ``MAIN``;
        empty before ``read``
    """

    def __init__(self, path: Path, loader: "_Loader") -> None:
        self.path = path
        self.manifest, self.scenario = loader.scan()
        self.streams: Mapping[int, bytearray] = {}
        self._loader = loader

    @classmethod
    def open(cls, path: Path) -> Self:
        """The capture in the file ``path``, without its streams.

        :raise HarnessError: it cannot be read
        :raise UsageError: it is no capture, or of another format version
        :raise HistoryError: it is cut off or damaged
        """
        try:
            return cls(path, _Loader(path, path.open("rb")))
        except OSError as error:
            raise refusal(f"{path}: cannot read a capture there", error) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """As ``open``, with its streams.

        :raise HistoryError: as of ``open`` and ``read``
        """
        capture = cls.open(path)
        capture.read()
        return capture

    def read(self) -> None:
        """Read the streams; called again it does nothing.

        :raise HistoryError: they are damaged
        """
        if not self.streams:
            self.streams = self._loader.read(self.manifest)

    def units(self, channel: int) -> Iterator[Unit]:
        """The hello and the packets of multifd channel ``channel``, in order.

        Pages come as pieces behind their RAM packet (``wire.channel``).

        :raise WireError: the source sent something else there
        """
        reader = ChannelReader(f"{self.path}, channel {channel}", self.manifest.page_size)
        view = memoryview(self.streams[channel])
        for at in range(0, len(view), _PIECE):
            reader.feed(bytes(view[at : at + _PIECE]))
            while not isinstance(unit := reader.next(), Need):
                yield unit
        reader.close()

    def refuses(
        self,
        destination: BuildFacts,
        scenario: Scenario,
        idstrs: Collection[str],
        machines: Collection[str] = (),
    ) -> str:
        """Why ``destination``, set up by ``scenario``, cannot take the capture; empty if it can.

        :param idstrs: names on the wire of the scenario's devices
        :param machines: machine types of the destination's build; empty if not known
        """
        there = self.manifest
        ours = self.scenario
        machine = scenario.machine.split(",", 1)[0]
        wanted = {name for device in ours.devices for name in device.properties}
        wanted.add("x-migration-multifd-transfer")
        known = destination.vfio_pci_properties
        missing = sorted(wanted.difference(known)) if known else []
        idstrs_there = sorted(device.idstr for device in there.devices)
        checks = (
            (
                bool(machines) and there.machine not in machines,
                f"QEMU {destination.version_text} has no machine type {there.machine}: "
                "give another build or another capture",
            ),
            (
                bool(missing),
                f"vfio-pci of QEMU {destination.version_text} has no property "
                f"{', '.join(missing)}: give a newer build",
            ),
            (
                machine != there.machine,
                f"the machine type is {machine}, captured was {there.machine}: use that one",
            ),
            (
                sorted(idstrs) != idstrs_there,
                f"the devices are {_list(sorted(idstrs))}, captured were {_list(idstrs_there)}",
            ),
            (
                scenario.multifd != ours.multifd or scenario.channels != ours.channels,
                f"multifd has {_channels(scenario)}, captured were {_channels(ours)}",
            ),
            (
                scenario.ram_mib != ours.ram_mib,
                f"RAM has {scenario.ram_mib} MiB, captured were {ours.ram_mib} MiB",
            ),
        )
        return next((f"{self.path}: {why}" for is_wrong, why in checks if is_wrong), "")


class _Loader:
    """Reads a capture; trusts no length that goes beyond the file's end."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._left = os.fstat(file.fileno()).st_size
        self._chunks: dict[int, list[tuple[int, int]]] = {}  # offset and size, by channel

    def scan(self) -> tuple[Manifest, Scenario]:
        """Find the chunks, and read the manifest behind them; the file stays open."""
        try:
            self._check_version()
            while True:
                channel, size = _CHUNK.unpack(self._read(_CHUNK.size))
                if channel == _MANIFEST:
                    manifest = self._manifest(size)
                    return manifest, _scenario(self._path, manifest)
                if not MAIN <= channel <= _LAST_CHANNEL or not size:
                    raise self._damaged(f"a chunk of {size} bytes of channel {channel}")
                self._check_left(size)
                self._chunks.setdefault(channel, []).append((self._file.tell(), size))
                self._file.seek(size, os.SEEK_CUR)
                self._left -= size
        except BaseException:
            self._file.close()
            raise

    def read(self, manifest: Manifest) -> dict[int, bytearray]:
        """All bytes of each channel; closes the file."""
        with self._file:
            found = {channel: self._stream(chunks) for channel, chunks in self._chunks.items()}
            for channel in sorted({*found, *manifest.streams}):
                data = found.get(channel, bytearray())
                read = Stream(len(data), xxhash.xxh3_128_hexdigest(data))
                if channel not in found or read != manifest.streams.get(channel):
                    raise self._damaged(f"channel {channel} differs from the manifest")
        return found

    def _stream(self, chunks: list[tuple[int, int]]) -> bytearray:
        stream = bytearray(sum(size for _, size in chunks))
        left = memoryview(stream)
        for offset, size in chunks:
            self._file.seek(offset)
            if self._file.readinto(left[:size]) != size:  # type: ignore[attr-defined]
                raise self._cut_off(size)  # while it was read
            left = left[size:]
        return stream

    def _check_version(self) -> None:
        line = self._file.readline(_LINE_LIMIT)
        self._left -= len(line)
        version = line.removeprefix(MAGIC).removesuffix(b"\n")
        if not line.startswith(MAGIC) or not line.endswith(b"\n") or not version.isdigit():
            raise UsageError(
                f"{self._path}: not a capture; `vfio-multifd run --capture` writes one"
            )
        if int(version) != FORMAT:
            raise UsageError(
                f"{self._path}: a capture of format {int(version)}, this harness reads {FORMAT}: "
                "use the harness that made it, or capture again"
            )

    def _manifest(self, size: int) -> Manifest:
        if size > MANIFEST_LIMIT:
            raise self._damaged(f"a manifest of {size} bytes, more than {MANIFEST_LIMIT}")
        encoded = self._read(size)
        if xxhash.xxh3_128_digest(encoded) != self._read(_DIGEST_SIZE):
            raise self._damaged("its manifest")
        if self._left:
            raise self._damaged(f"{self._left} bytes behind its end")
        try:
            return msgspec.msgpack.decode(encoded, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(f"its manifest: {error}") from error

    def _read(self, size: int) -> bytes:
        self._check_left(size)
        data = self._file.read(size)
        if len(data) < size:
            raise self._cut_off(size - len(data))  # while it was read
        self._left -= size
        return data

    def _check_left(self, size: int) -> None:
        if size > self._left:
            raise self._cut_off(size - self._left)

    def _cut_off(self, missing: int) -> HistoryError:
        return HistoryError(
            f"{self._path}: cut off: {missing} bytes are missing behind byte "
            f"{self._file.tell()}; capture again, or copy the file again"
        )

    def _damaged(self, what: str) -> HistoryError:
        return HistoryError(
            f"{self._path}: damaged before byte {self._file.tell()}: {what}; "
            "capture again, or copy the file again"
        )


def _scenario(path: Path, manifest: Manifest) -> Scenario:
    try:
        return scenarios.from_json(manifest.scenario, f"{path}, its scenario")
    except UsageError as error:
        raise HistoryError(f"{error}; it was made by another version of the harness") from error


def _channels(scenario: Scenario) -> str:
    return f"{scenario.channels} channels" if scenario.multifd else "none"


def _list(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
