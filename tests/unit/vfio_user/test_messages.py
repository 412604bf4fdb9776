"""Layouts of vfio-user messages, and that no bytes are taken for what they are not."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.vfio_user import messages
from harness.vfio_user.messages import (
    MOST_DATA,
    Command,
    DmaAccess,
    DmaMap,
    DmaUnmap,
    Flag,
    Header,
    MigData,
    ProtocolError,
    RegionAccess,
    RegionInfo,
    Version,
    message,
    name_of,
    parse_writes,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
DATA = st.binary(max_size=40)


def test_header_is_laid_out_as_in_vfio_user_rst():
    data = message(7, Command.DEVICE_RESET, b"abc", Flag.REPLY | Flag.ERROR, 5)
    assert data == struct.pack("<HHIII", 7, 13, 19, 0x21, 5) + b"abc"
    header = Header.parse(data[:16])
    assert header == Header(7, 13, 19, 0x21, 5)
    assert header.is_reply
    assert header.is_error
    assert header.payload_size == 3
    assert not Header.parse(message(7, 13)).is_reply


@pytest.mark.parametrize("size", [0, 15, 2 * MOST_DATA + 1, 2**32 - 1])
def test_header_with_an_impossible_size_is_refused(size):
    with pytest.raises(ProtocolError, match=f"^REGION_READ with a size of {size} bytes$"):
        Header.parse(struct.pack("<HHIII", 1, 9, size, 1, 0))


def test_header_is_16_bytes():
    with pytest.raises(ProtocolError, match="15 bytes"):
        Header.parse(bytes(15))


def test_command_that_is_not_known_has_its_number_for_a_name():
    assert [name_of(9), name_of(99)] == ["REGION_READ", "99"]


def test_version_is_json_with_a_zero_behind_it():
    payload = Version(0, 1, 4096, 3).pack()
    assert payload[:4] == struct.pack("<HH", 0, 1)
    assert payload[-1] == 0
    limits = {"max_msg_fds": 3, "max_data_xfer_size": 4096}
    assert json.loads(payload[4:-1]) == {"capabilities": limits}
    assert Version.parse(payload) == Version(0, 1, 4096, 3)


@pytest.mark.parametrize("text", [b"", b"\0", b"{}", b'{"capabilities": {"pgsizes": 4096}}\0'])
def test_version_without_limits_has_those_of_the_protocol(text):
    assert Version.parse(b"\0\0\1\0" + text) == Version(0, 1, MOST_DATA, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no object"),
        (b'{"capabilities": []}', "no object"),
        (b'{"capabilities": {"max_msg_fds": 0}}', "max_msg_fds 0"),
        (b'{"capabilities": {"max_msg_fds": true}}', "max_msg_fds True"),
        (b'{"capabilities": {"max_data_xfer_size": "1"}}', "max_data_xfer_size 1"),
        (b'{"capabilities": {"max_data_xfer_size": 1e9}}', "max_data_xfer_size 1000000000.0"),
        (b'{"capabilities": {"max_data_xfer_size": 1073741825}}', "max_data_xfer_size 1073741825"),
    ],
)
def test_damaged_version_is_refused(text, words):
    with pytest.raises(ProtocolError, match=words):
        Version.parse(b"\0\0\1\0" + text)


@given(flags=U32, offset=U64, iova=U64, length=U64)
def test_dma_map_is_read_as_it_was_written(flags, offset, iova, length):
    mapping = DmaMap(flags, offset, iova, length)
    assert mapping.pack() == struct.pack("<IIQQQ", 32, flags, offset, iova, length)
    assert DmaMap.parse(mapping.pack()) == mapping
    unmap = DmaUnmap(iova, length, flags)
    assert unmap.pack() == struct.pack("<IIQQ", 24, flags, iova, length)
    assert DmaUnmap.parse(unmap.pack()) == unmap


@given(region=U32, offset=U64, data=DATA, padding=DATA)
def test_region_access_is_read_as_it_was_written_and_may_be_padded(region, offset, data, padding):
    access = RegionAccess(region, offset, len(data), data)
    assert access.pack() == struct.pack("<QII", offset, region, len(data)) + data
    assert RegionAccess.parse(access.pack() + padding, has_data=True) == access
    asked = RegionAccess.parse(access.pack() + padding, has_data=False)
    assert asked == RegionAccess(region, offset, len(data))


@given(data=DATA, padding=DATA)
def test_state_is_read_as_it_was_written_and_may_be_padded(data, padding):
    piece = MigData(len(data), data)
    assert piece.pack() == struct.pack("<II", 8 + len(data), len(data)) + data
    assert MigData.parse(piece.pack() + padding, has_data=True) == piece


@given(address=U64, data=DATA)
def test_dma_access_is_read_as_it_was_written(address, data):
    access = DmaAccess(address, len(data), data)
    assert access.pack() == struct.pack("<QQ", address, len(data)) + data
    assert DmaAccess.parse(access.pack(), has_data=True) == access


@pytest.mark.parametrize(
    "parse",
    [
        lambda data: RegionAccess.parse(data, has_data=True),
        lambda data: MigData.parse(data, has_data=True),
        lambda data: DmaAccess.parse(data, has_data=True),
    ],
)
def test_data_that_is_shorter_than_it_says_is_refused(parse):
    for whole in (
        RegionAccess(0, 0, 3, b"abc").pack(),
        MigData(3, b"abc").pack(),
        DmaAccess(0, 3, b"abc").pack(),
    ):
        try:
            found = parse(whole)
        except ProtocolError:
            continue  # of another layout
        if found.data == b"abc":
            with pytest.raises(ProtocolError, match="of 3 bytes that has 2"):
                parse(whole[:-1])


def test_more_than_one_message_may_have_is_refused():
    with pytest.raises(ProtocolError, match="1048577"):
        RegionAccess.parse(RegionAccess(0, 0, MOST_DATA + 1).pack(), has_data=False)
    with pytest.raises(ProtocolError, match="1048577"):
        MigData.parse(MigData(MOST_DATA + 1).pack(), has_data=False)
    with pytest.raises(ProtocolError, match="1048577"):
        DmaAccess.parse(DmaAccess(0, MOST_DATA + 1).pack(), has_data=False)


def test_writes_of_one_message():
    one, two = (struct.pack("<QII8s", at, 7, n, b"abcdefgh") for at, n in ((4, 2), (16, 8)))
    found = parse_writes(struct.pack("<Q", 2) + one + two)
    assert found == [RegionAccess(7, 4, 2, b"ab"), RegionAccess(7, 16, 8, b"abcdefgh")]
    with pytest.raises(ProtocolError, match="of 3 writes"):
        parse_writes(struct.pack("<Q", 3) + one + two)
    with pytest.raises(ProtocolError, match="a write of 9 bytes"):
        parse_writes(struct.pack("<Q", 1) + struct.pack("<QII8s", 4, 7, 9, b""))


@given(payload=st.binary(max_size=120))
def test_any_bytes_are_parsed_or_refused(payload):
    for parse in (
        Header.parse,
        Version.parse,
        DmaMap.parse,
        DmaUnmap.parse,
        RegionInfo.parse,
        parse_writes,
        *(
            lambda data, kind=kind, has=has: kind.parse(data, has_data=has)
            for kind in (RegionAccess, MigData, DmaAccess)
            for has in (False, True)
        ),
    ):
        said = "parsed"
        try:
            parse(payload)
        except ProtocolError as error:
            said = str(error)
        assert said
        assert "\n" not in said


@given(text=st.text(max_size=60))
def test_any_version_data_is_parsed_or_refused(text):
    try:
        found = Version.parse(bytes(4) + text.encode(errors="surrogatepass"))
    except ProtocolError:
        return
    assert found.most_data > 0
    assert found.most_fds > 0


def test_reply_that_is_too_short_is_refused():
    with pytest.raises(ProtocolError, match=r"^DEVICE_GET_INFO with 15 bytes, not 16 or more$"):
        messages.unpacked(messages.DEVICE_INFO, bytes(15), Command.DEVICE_GET_INFO)
