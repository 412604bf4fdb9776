"""What was captured is read again; anything else is refused in one clear line."""

import os
import random
import struct
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HistoryError, UsageError, WireError
from harness.proxy.capture import MANIFEST_LIMIT, Capture, CaptureWriter, Manifest, Stream
from harness.proxy.events import MAIN
from harness.scenario import EmulatedDevice, Scenario
from harness.wire.channel import Pages
from harness.wire.packets import MultiFDInit, RamPacket
from tests.unit.proxy.captures import BUILD, IDSTR, SCENARIO, make, manifest
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import PAGES, SYNC, hello, ram

PACKETS = [packet(0, bytes(1 << 20)), packet(1, b"tail"), config(2)]
STREAMS = {
    MAIN: b"QEVM" + random.Random(0).randbytes(200_000),
    0: hello(0) + ram() + PACKETS[0].pack() + SYNC,
    7: hello(7) + PACKETS[1].pack() + PACKETS[2].pack(),
}
HEAD = b"vfio-multifd capture 1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.capture"


def _tail(encoded: bytes) -> bytes:
    head = struct.pack(">iI", -2, len(encoded))
    return head + encoded + xxhash.xxh3_128_digest(encoded)


def _manifest(streams: dict[int, Stream]) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(manifest(), streams=streams))


# -- writing and reading -----------------------------------------------------------------


def test_what_was_captured_is_read_again(path: Path) -> None:
    capture = make(path, STREAMS)
    assert capture.streams == STREAMS
    assert capture.scenario == SCENARIO
    assert capture.manifest == msgspec.structs.replace(
        manifest(),
        streams={
            channel: Stream(len(data), xxhash.xxh3_128_hexdigest(data))
            for channel, data in STREAMS.items()
        },
    )
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@given(
    pieces=st.lists(st.tuples(st.sampled_from([MAIN, 0, 1, 255]), st.binary(max_size=50))),
)
def test_any_pieces_come_back_by_channel(tmp_path_factory, pieces) -> None:
    path = tmp_path_factory.mktemp("capture") / "run.capture"
    expected: dict[int, bytes] = {}
    with CaptureWriter(path) as writer:
        for channel, data in pieces:
            writer.append(channel, data)
            if data:
                expected[channel] = expected.get(channel, b"") + data
        writer.finish(manifest())
    assert Capture.load(path).streams == expected


def test_packets_of_a_channel_come_in_order(path: Path) -> None:
    capture = make(path, STREAMS)
    greeting, head, pages, state, sync = capture.units(0)
    assert isinstance(greeting, MultiFDInit)
    assert isinstance(head, RamPacket)
    assert pages == Pages(PAGES)
    assert state == PACKETS[0]
    assert isinstance(sync, RamPacket)
    assert sync.is_sync
    assert list(capture.units(7))[1:] == PACKETS[1:]


def test_channel_that_was_cut_inside_a_packet_says_where(path: Path) -> None:
    capture = make(path, {**STREAMS, 3: hello(3) + SYNC[:100]})
    with pytest.raises(WireError, match=r"run.capture, channel 3, byte 64: ends inside"):
        list(capture.units(3))


def test_nothing_is_there_before_the_end_and_nothing_is_left_of_a_failure(path: Path) -> None:
    def fail() -> None:
        with CaptureWriter(path) as writer:
            writer.append(0, b"data")
            assert not path.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(path.parent.iterdir())


def test_no_other_user_reads_it_while_it_is_written_and_afterwards(path: Path) -> None:
    """It holds a guest's RAM."""
    before = os.umask(0)
    try:
        writer = CaptureWriter(path)
        (unfinished,) = path.parent.iterdir()
        assert unfinished.stat().st_mode & 0o777 == 0o600
        writer.append(MAIN, b"QEVM")
        writer.finish(manifest())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_capture_of_before_stays_until_the_new_one_is_complete(path: Path) -> None:
    make(path, STREAMS)
    with CaptureWriter(path) as writer:
        writer.append(0, b"data")
    assert Capture.load(path).streams == STREAMS
    make(path, {0: b"other"})
    assert Capture.load(path).streams == {0: b"other"}


@pytest.mark.parametrize("channel", [-2, 256])
def test_channel_that_cannot_be_is_not_written(path: Path, channel: int) -> None:
    with CaptureWriter(path) as writer, pytest.raises(ValueError, match="it must be -1 to 255"):
        writer.append(channel, b"data")


def test_manifest_that_could_not_be_read_again_is_not_written(path: Path) -> None:
    with CaptureWriter(path) as writer, pytest.raises(HistoryError, match="its manifest would"):
        writer.finish(msgspec.structs.replace(manifest(), scenario=bytes(MANIFEST_LIMIT)))
    assert not list(path.parent.iterdir())


def test_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"run.capture: cannot write: No such file"):
        CaptureWriter(tmp_path / "missing" / "run.capture")


def test_full_disk_is_reported(path: Path) -> None:
    writer = CaptureWriter(path)
    writer._file.close()
    writer._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the writer closes it
    with pytest.raises(HistoryError, match="cannot write: No space left on device"):
        writer.append(0, bytes(100))
    writer.discard()
    assert not list(path.parent.iterdir())


# -- what is refused ---------------------------------------------------------------------


def _load_error(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises((HistoryError, UsageError)) as caught:
        Capture.load(path)
    words = str(caught.value)
    assert words.startswith(f"{path}")
    assert "\n" not in words
    return words


def test_file_that_is_not_there_is_reported(path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read a capture there: No such file"):
        Capture.load(path)


@pytest.mark.parametrize(
    "data", [b"", b"QEVM", b"{}\n", HEAD[:-1], HEAD[:-2] + b"x\n", HEAD[:21] + b"1" * 40 + b"\n"]
)
def test_what_is_no_capture_is_reported(path: Path, data: bytes) -> None:
    assert "not a capture; `vfio-multifd run --capture` writes one" in _load_error(path, data)


def test_other_version_is_reported(path: Path) -> None:
    words = _load_error(path, b"vfio-multifd capture 2\n" + bytes(100))
    assert "a capture of format 2, this harness reads 1: use the harness that made it" in words


def test_capture_that_was_cut_anywhere_is_reported(path: Path) -> None:
    make(path, {MAIN: b"QEVM", 0: b"data"})
    data = path.read_bytes()
    for size in range(len(HEAD), len(data), 3):
        assert "cut off: " in _load_error(path, data[:size])


def test_any_byte_that_is_not_as_written_is_reported(path: Path) -> None:
    make(path, {MAIN: b"QEVM", 0: b"data"})
    data = path.read_bytes()
    for at in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[at] ^= 0x41
        assert _load_error(path, bytes(damaged))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack(">iI", 3, 0), "a chunk of 0 bytes of channel 3"),
        (struct.pack(">iI", 256, 1) + b"x", "a chunk of 1 bytes of channel 256"),
        (struct.pack(">iI", -3, 1) + b"x", "a chunk of 1 bytes of channel -3"),
        (struct.pack(">iI", 0, 1) + b"x" + _tail(_manifest({})), "channel 0 differs from"),
        (_tail(_manifest({0: Stream(1, "")})), "channel 0 differs from"),
        (_tail(_manifest({})) + b"x", "1 bytes behind its end"),
        (_tail(_manifest({}))[:-1] + bytes([_tail(_manifest({}))[-1] ^ 1]), "its manifest"),
        (_tail(b"\x80"), "its manifest: Object missing required field"),
        (_tail(b"\xc1"), "its manifest: MessagePack data is malformed"),
        (_tail(b"\x91" * 100_000), "its manifest: "),
        (struct.pack(">iI", -2, MANIFEST_LIMIT + 1), f"a manifest of {MANIFEST_LIMIT + 1} bytes"),
    ],
)
def test_damage_is_reported_with_its_place(path: Path, data: bytes, words: str) -> None:
    error = _load_error(path, HEAD + data)
    assert words in error
    assert "damaged before byte" in error
    assert "capture again, or copy the file again" in error


def test_scenario_that_is_not_understood_is_reported(path: Path) -> None:
    with CaptureWriter(path) as writer:
        writer.finish(msgspec.structs.replace(manifest(), scenario=b'{"unheard": 1}'))
    with pytest.raises(HistoryError, match=r"its scenario: not a scenario: .* another version"):
        Capture.load(path)


@pytest.mark.parametrize("channel", [0, -2])
def test_stated_size_makes_nothing_big(path: Path, channel: int) -> None:
    path.write_bytes(HEAD + struct.pack(">iI", channel, 0xFFFFFFFF) + bytes(1000))
    tracemalloc.start()
    with pytest.raises(HistoryError):
        Capture.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# -- what can take it --------------------------------------------------------------------

EXACT = msgspec.structs.replace(SCENARIO, machine="pc-q35-10.0")
MACHINES = ("pc-q35-10.0", "q35")


def _with(**fields: object) -> Scenario:
    return msgspec.structs.replace(EXACT, **fields)


@pytest.mark.parametrize("machines", [MACHINES, ()])
@pytest.mark.parametrize("known", [BUILD.vfio_pci_properties, ()])
def test_what_is_set_up_as_captured_can_take_it(path: Path, machines, known) -> None:
    capture = make(path, STREAMS)
    build = msgspec.structs.replace(BUILD, vfio_pci_properties=known)
    assert capture.refuses(build, EXACT, [IDSTR], machines) == ""
    assert capture.refuses(build, _with(machine="pc-q35-10.0,usb=off"), [IDSTR], machines) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machines": ("pc-q35-9.2",)}, "QEMU 10.0.13 has no machine type pc-q35-10.0: give"),
        (
            {"vfio_pci_properties": ("x-no-mmap",)},
            "has no property x-migration-multifd-transfer: give a newer build",
        ),
        (
            {"vfio_pci_properties": ("x-migration-multifd-transfer",)},
            "vfio-pci of QEMU 10.0.13 has no property x-no-mmap",
        ),
        ({"scenario": _with(machine="q35")}, "machine type is q35, captured was pc-q35-10.0"),
        ({"idstrs": []}, f"the devices are none, captured were {IDSTR}"),
        ({"idstrs": ["0000:00:09.0/vfio"]}, "the devices are 0000:00:09.0/vfio, captured were"),
        ({"idstrs": [IDSTR, IDSTR]}, f"the devices are {IDSTR}, {IDSTR}, captured were"),
        ({"scenario": _with(channels=5)}, "multifd has 5 channels, captured were 4 channels"),
        ({"scenario": _with(multifd=False)}, "multifd has none, captured were 4 channels"),
        ({"scenario": _with(ram_mib=128)}, "RAM has 128 MiB, captured were 64 MiB"),
    ],
)
def test_what_differs_is_reported(path: Path, changes: dict, words: str) -> None:
    capture = make(path, STREAMS)
    known = changes.get("vfio_pci_properties", BUILD.vfio_pci_properties)
    why = capture.refuses(
        msgspec.structs.replace(BUILD, vfio_pci_properties=known),
        changes.get("scenario", EXACT),
        changes.get("idstrs", [IDSTR]),
        changes.get("machines", MACHINES),
    )
    assert words in why
    assert why.startswith(f"{path}: ")


def test_properties_of_every_captured_device_are_needed(path: Path) -> None:
    devices = (EmulatedDevice(id="a"), EmulatedDevice(id="b", properties={"x-new": "on"}))
    capture = make(path, STREAMS, _with(devices=devices))
    assert "no property x-new" in capture.refuses(BUILD, EXACT, [IDSTR])


def test_fields_of_the_manifest_that_are_new_do_not_hinder_an_older_reader(path: Path) -> None:
    known = msgspec.msgpack.decode(_manifest({}))
    path.write_bytes(HEAD + _tail(msgspec.msgpack.encode({**known, "newer": 1})))
    assert isinstance(Capture.load(path).manifest, Manifest)
