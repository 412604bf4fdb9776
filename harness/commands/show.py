"""``vfio-multifd show``: list a capture's contents."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.proxy.capture import Capture
from harness.proxy.events import MAIN
from harness.wire.channel import Pages
from harness.wire.main_channel import (
    Command,
    Description,
    Header,
    MainChannelReader,
    Section,
    SectionKind,
    StateEnd,
)
from harness.wire.packets import DeviceStatePacket, MultiFDInit, RamPacket
from harness.wire.reader import Need


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Lists the sections of a capture's main channel and the packets of its multifd channels."
    )
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    sys.stdout.writelines(f"{line}\n" for line in lines(options.capture))
    return 0


def lines(path: Path) -> Iterator[str]:
    """The contents of the capture ``path``, one line each.

    :raise HistoryError: it cannot be read, is no capture, cut off or damaged
    :raise WireError: a channel's bytes are not what they must be
    """
    capture = Capture.load(path)
    made, there = capture.scenario, capture.manifest
    yield f"{path}: {made.name}, captured from QEMU {there.source.version_text}, {there.machine}"
    for device in there.devices:
        yield f"{device.id}: {device.idstr}, {device.size} bytes of state, xxh3 {device.digest}"
    yield f"main channel: {len(capture.streams[MAIN])} bytes"
    yield from _main(capture)
    for channel in sorted(capture.streams):
        if channel != MAIN:
            yield f"channel {channel}: {len(capture.streams[channel])} bytes"
            yield from _multifd(capture, channel)


def _main(capture: Capture) -> Iterator[str]:
    """Parts of one section in a row are one line: RAM has dozens."""
    reader = MainChannelReader(f"{capture.path}, main channel")
    reader.feed(bytes(capture.streams[MAIN]))
    parts: list[Section] = []
    while not isinstance(event := reader.next(), Need):
        is_part = isinstance(event, Section) and event.kind is SectionKind.PART
        if parts and not (is_part and event.idstr == parts[0].idstr):  # type: ignore[union-attr]
            yield _parts(parts)
            parts = []
        if is_part:
            parts.append(event)  # type: ignore[arg-type]
            continue
        match event:
            case Header():
                yield _at(0, f"header, {event.machine}")
            case Section():
                name = f"{event.idstr} {event.instance_id}"
                yield _at(event.offset, f"{event.kind.name} {name}, {event.body_size} bytes")
            case Command():
                mark = ": the switchover point" if event.is_switchover else ""
                yield _at(event.offset, f"command {event.number.name}{mark}")
            case StateEnd():
                yield _at(event.offset, "end of the state")
            case Description():
                yield _at(event.offset, f"description, {event.size} bytes")
    reader.close()


def _parts(parts: list[Section]) -> str:
    size = sum(part.body_size for part in parts)
    count = "" if len(parts) == 1 else f" {len(parts)} times"
    return _at(
        parts[0].offset, f"PART {parts[0].idstr} {parts[0].instance_id}{count}, {size} bytes"
    )


def _multifd(capture: Capture, channel: int) -> Iterator[str]:
    """Device-state packets one by one; RAM between them as one line."""
    pages = packets = 0
    for unit in capture.units(channel):
        match unit:
            case RamPacket():
                packets += 1
            case Pages():
                pages += len(unit.data)
            case MultiFDInit() | DeviceStatePacket():
                if packets:
                    yield f"    {packets} RAM packets, {pages} bytes of pages"
                pages = packets = 0
                if isinstance(unit, DeviceStatePacket):
                    what = "configuration" if unit.is_config else "data"
                    yield f"    {unit.device} packet {unit.idx}: {what}, {len(unit.data)} bytes"
                else:
                    yield f"    hello of channel {unit.channel_id}, uuid {unit.uuid.hex()}"
    if packets:
        yield f"    {packets} RAM packets, {pages} bytes of pages"


def _at(offset: int, what: str) -> str:
    return f"    {offset:>8}  {what}"
