"""A capture gets whose bytes they are, and what the source said meanwhile; or it is none."""

import msgspec
import pytest

from harness.history import Event, Kind, Record, Side, contract
from harness.history.builds import BuildFacts
from harness.history.device import Sent
from harness.proxy.capture import Capture, CaptureWriter
from harness.proxy.events import MAIN
from harness.scenario import (
    EmulatedDevice,
    MdevDevice,
    Scenario,
    Tls,
    Transport,
)
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest
from harness.session import capture as captures

SCENARIO = Scenario(name="two", devices=(EmulatedDevice(id="a"), EmulatedDevice(id="b")))
BUILD = BuildFacts(path="q", version=(10, 0, 0), version_text="10.0", machine="pc-q35-10.0")


def sent(device, side=Side.SOURCE):
    return Record.of(1, side, Sent(3, f"of {device}"), device)


@pytest.fixture
def writer(tmp_path):
    with CaptureWriter(tmp_path / "capture") as made:
        made.append(MAIN, b"QEVM")
        yield made


def test_manifest_says_whose_bytes_they_are(writer):
    records = [sent("a"), sent("b"), Record(2, Side.DESTINATION, Kind.QMP, "RESUME")]
    assert captures.finish(writer, SCENARIO, (BUILD, BUILD), records) == ""
    capture = Capture.load(writer.path)
    assert capture.scenario == SCENARIO
    assert capture.manifest.machine == "pc-q35-10.0"
    assert [(d.id, d.idstr, d.size, d.digest) for d in capture.manifest.devices] == [
        ("a", "0000:00:02.0/vfio", 3, "of a"),
        ("b", "0000:00:03.0/vfio", 3, "of b"),
    ]
    kept = msgspec.json.Decoder(Event).decode_lines(capture.manifest.records)
    assert contract.typed(kept, "capture") == records[:2]


def test_state_that_was_not_sent_makes_no_capture(writer):
    records = [sent("a"), sent("b", side=Side.DESTINATION)]
    why = captures.finish(writer, SCENARIO, (BUILD, BUILD), records)
    assert why == "the source did not send the state of b"
    assert not list(writer.path.parent.iterdir())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"transport": Transport.TCP}, ""),
        ({"transport": Transport.FILE}, "transport is file: a capture is made of connections"),
        ({"tls": Tls.PSK}, "a relay cannot look into TLS"),
        ({"guest": Guest(), "ram_mib": LINUX_RAM_MIB}, "a guest changes its devices as it runs"),
        ({"devices": (MdevDevice(id="a"),)}, "only the kernel's device knows"),
    ],
)
def test_what_cannot_be_captured(fields, words):
    why = captures.why_not(Scenario(name="x", **fields))
    assert why.startswith(words)
    assert bool(why) is bool(words)
