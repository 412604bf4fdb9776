"""Captures made without a migration."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.history.builds import BuildFacts
from harness.proxy.capture import Capture, CapturedDevice, CaptureWriter, Manifest
from harness.scenario import EmulatedDevice, Scenario, to_json

IDSTR = "0000:00:02.0/vfio"
BUILD = BuildFacts(
    path="qemu",
    version=(10, 0, 13),
    version_text="10.0.13",
    machine="pc-q35-10.0",
    vfio_pci_properties=("x-migration-multifd-transfer", "x-no-mmap"),
)
SCENARIO = Scenario(
    name="captured", devices=(EmulatedDevice(id="vfio0", properties={"x-no-mmap": True}),)
)


def manifest(scenario: Scenario = SCENARIO) -> Manifest:
    return Manifest(
        harness="1.2.3",
        scenario=to_json(scenario),
        source=BUILD,
        destination=msgspec.structs.replace(BUILD, version_text="10.0.99"),
        machine="pc-q35-10.0",
        channels=scenario.channels,
        devices=(CapturedDevice(id="vfio0", idstr=IDSTR, size=1 << 20, digest="ab" * 16),),
    )


def make(path: Path, streams: Mapping[int, bytes], scenario: Scenario = SCENARIO) -> Capture:
    """A capture of ``streams``, written to ``path`` in small chunks in turn, and read again."""
    with CaptureWriter(path) as writer:
        left = {channel: memoryview(data) for channel, data in streams.items()}
        while left:
            for channel, data in list(left.items()):
                writer.append(channel, bytes(data[:50_000]))
                left[channel] = data[50_000:]
                if not left[channel]:
                    del left[channel]
        writer.finish(manifest(scenario))
    return Capture.load(path)
