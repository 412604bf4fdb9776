"""Functions of ivshmem-plain with the rig's variant driver, for the QEMU of one side.

The state of such a device is its BAR 2.  The source's is filled once it is bound; what both have
after the migration is read through the driver (``ivshmem_driver``) and compared.
"""

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec
import xxhash

from harness.devices.abilities import Ask, of_function
from harness.devices.ivshmem_driver import DEBUGFS, NONE, Driver
from harness.devices.ledger import Ledger
from harness.devices.of_kind import Target
from harness.devices.pci import PciDevices
from harness.devices.pci_bus import PciBus
from harness.errors import PrerequisiteMissing
from harness.history import Record, Side
from harness.history.device import NotCompared, Received, Sent
from harness.scenario import IvshmemDevice, PciDevice
from harness.vfio.state_bytes import (
    CHUNK,
    GoOn,
    Stopped,
    digest,
    first_difference,
    to_the_end,
)
from harness.vfio.uapi import MigrationFlag

KIND = "1af4:1110"
"""Vendor and device of QEMU's ivshmem."""
_HEADER = struct.Struct("<QIIQQ")
_MAGIC, _VERSION = 0x6D656D6873766921, 1
_PERIOD = CHUNK + 7
"""A prime: no buffer of QEMU's is moved by it, so none has another one's bytes."""

Contents = Callable[[int, int], bytes]
"""Contents of BAR 2: offset, length."""


class IvshmemDevices(PciDevices):
    """The devices of ``specs`` in the QEMU of ``target``; BAR 2 of the source's is filled."""

    def __init__(
        self,
        specs: Sequence[IvshmemDevice],
        target: Target,
        bus: PciBus | None = None,
        ledger: Ledger | None = None,
        ask: Ask = of_function,
        debugfs: Path = DEBUGFS,
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._source: IvshmemDevices | None = None
        self._is_generated = False
        self._digests: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._debugfs = debugfs
        super().__init__(specs, target, bus, ledger, ask)

    @classmethod
    def is_missing_here(cls) -> bool:
        """No such function, or its driver is not loaded."""
        return not DEBUGFS.exists() or not any(
            function.kind == KIND for function in PciBus().functions()
        )

    def _set_up(self, spec: PciDevice, address: str) -> None:
        ours, driver = self._specs[spec.id], Driver(address, self._debugfs)
        if not driver.folder.exists():
            raise PrerequisiteMissing(f"{driver.folder} is missing: mount debugfs, as root")
        if driver.size != ours.size:
            raise PrerequisiteMissing(
                f"BAR 2 of {address} has {driver.size} bytes, and size is {ours.size}"
            )
        flags = (
            MigrationFlag.STOP_COPY
            | MigrationFlag.P2P * ours.p2p
            | MigrationFlag.PRE_COPY * ours.pre_copy
        )
        driver.set("migration_flags", flags)
        driver.set("pre_copy_bytes", ours.precopy_initial_bytes)
        is_source = self._target.side is Side.SOURCE
        parameters = ours.at_source if is_source else ours.at_destination
        for name, value in msgspec.structs.asdict(parameters).items():
            driver.set(name, NONE if value is None else value)
        contents = pattern(ours.seed) if is_source else _zeros
        for offset, length in _pieces(ours.size):
            driver.write(offset, contents(offset, length))

    @property
    def _drivers(self) -> dict[str, Driver]:
        return {
            each.spec.id: Driver(each.function.address, self._debugfs) for each in self._attached
        }

    def expect_from(self, source: Self) -> None:
        """Compare BAR 2 of each device with that of its peer in ``source``."""
        self._source = source

    def expect_generated(self) -> None:
        """Compare BAR 2 of each device with what a source's is filled with."""
        self._is_generated = True

    def report(self, go_on: GoOn = to_the_end) -> None:
        """Record what each device gave or got."""
        for name, driver in self._drivers.items():
            spec = self._specs[name]
            what: Literal["sent", "received"] = "sent"
            try:
                if driver.get("read_bytes"):
                    self._target.observe(spec, self._sent(spec, driver, go_on))
                what = "received"
                if driver.get("written_bytes"):
                    self._target.observe(spec, self._received(spec, driver, go_on))
            except Stopped as stopped:
                self._target.observe(spec, NotCompared(what=what, why=str(stopped)))

    def observe_calls(self) -> None:
        """Record those since the last time, at their own times."""
        for name, driver in self._drivers.items():
            events = driver.events()
            for t_ns, body in events[self._seen.get(name, 0) :]:
                self._target.record(Record.of(t_ns, self._target.side, body, name))
            self._seen[name] = len(events)

    def _sent(self, spec: IvshmemDevice, driver: Driver, go_on: GoOn) -> Sent:
        known = self._digests.pop(spec.id, "")
        return Sent(bytes=spec.total_size, digest=known or digest(_state(spec, driver.read), go_on))

    def _received(self, spec: IvshmemDevice, driver: Driver, go_on: GoOn) -> Received:
        """The state as the device has it now.  What pre-copy brought was written over.

        Source and destination are read once, side by side.
        """
        got, read = driver.get("written_bytes"), self._expected(spec)
        ours, theirs = xxhash.xxh3_128(), xxhash.xxh3_128()
        at, differs = 0, -1
        expected = _state(spec, driver.read if read is None else read)
        for chunk, other in zip(_state(spec, driver.read), expected, strict=True):
            go_on()
            ours.update(chunk[: max(0, got - at)])
            theirs.update(other)
            found = first_difference(chunk, other)
            if differs < 0 <= found:
                differs = at + found
            at += len(chunk)
        if read is None:
            digest_of, wanted = ours.hexdigest(), -1
        else:
            digest_of, wanted = theirs.hexdigest(), spec.total_size
            if got != wanted:
                differs = min(x for x in (got, wanted, differs) if x >= 0)
        if self._source is not None:
            self._source._digests[spec.id] = digest_of
        return Received(
            bytes=got,
            digest=ours.hexdigest(),
            expected_bytes=wanted,
            expected_digest=digest_of,
            first_difference=differs,
        )

    def _expected(self, spec: IvshmemDevice) -> Contents | None:
        """What BAR 2 of the destination shall have; None if that is not known."""
        if self._is_generated:
            return pattern(spec.seed)
        driver = self._source._drivers.get(spec.id) if self._source is not None else None
        return driver.read if driver is not None else None


def pattern(seed: int) -> Contents:
    """What BAR 2 of a source is filled with: 1 MiB and 7 bytes, over and over again.

    The generator of ``harness.vfio.state_bytes`` takes seconds for it where TCG runs it.
    """
    block = random.Random(seed).randbytes(_PERIOD)

    def read(offset: int, length: int) -> bytes:
        at = offset % _PERIOD
        return (block[at:] + block * (length // _PERIOD + 1))[:length]

    return read


def _zeros(_offset: int, length: int) -> bytes:
    return bytes(length)


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of pieces of at most 1 MiB."""
    for offset in range(0, size, CHUNK):
        yield offset, min(CHUNK, size - offset)


def _state(spec: IvshmemDevice, read: Contents) -> Iterator[bytes]:
    """The state of a device whose BAR 2 is read with ``read``."""
    yield _HEADER.pack(_MAGIC, _VERSION, _HEADER.size, spec.early_bytes, spec.size)
    for size in (spec.early_bytes, spec.size):
        for offset, length in _pieces(size):
            yield read(offset, length)
