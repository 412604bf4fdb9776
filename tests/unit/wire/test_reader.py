"""What both readers share: bytes held, the place of damage, an error that stays."""

import pytest

from harness.errors import WireError
from harness.wire.reader import NEED_DATA, Incomplete, Need, Reader


class Fours(Reader[bytes]):
    """Units of four bytes that begin with a letter."""

    def _next(self) -> bytes | Need:
        if self.buffered < 4:
            raise Incomplete
        unit = bytes(self._buffer[self._at : self._at + 4])
        if not unit[:1].isalpha():
            raise self._damage("no letter", behind=1)
        self._skip_over(4)
        return unit


def test_units_come_out_of_pieces():
    reader = Fours("main")
    reader.feed(b"abc")
    assert reader.next() is NEED_DATA
    reader.feed(b"defghi")
    assert [reader.next(), reader.next(), reader.next()] == [b"abcd", b"efgh", NEED_DATA]
    assert (reader.offset, reader.buffered) == (8, 1)


def test_what_was_read_is_not_kept():
    reader = Fours("main")
    reader.feed(b"abcde")
    reader.next()
    reader.feed(b"fgh")
    assert bytes(reader._buffer) == b"efgh"


def test_damage_says_where_and_stays():
    reader = Fours("channel 1")
    reader.feed(b"abcd1234efgh")
    assert reader.next() == b"abcd"
    for _ in range(2):
        with pytest.raises(WireError, match=r"^channel 1, byte 5: no letter$"):
            reader.next()
