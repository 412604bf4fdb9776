"""Base of the readers of both kinds of channel: bytes in, units out, the offset of damage."""

import enum
from typing import Generic, TypeVar

from harness.errors import WireError

Unit = TypeVar("Unit")


class Need(enum.Enum):
    """What ``next`` returns when no unit is complete."""

    DATA = enum.auto()


NEED_DATA = Need.DATA


class Incomplete(Exception):
    """A unit is not complete: a subclass may raise it instead of returning ``NEED_DATA``."""


class Reader(Generic[Unit]):
    """``feed`` what was received, then call ``next`` until it returns ``NEED_DATA``.

    :param where: side and channel, for messages
    :ivar offset: bytes of the channel that have been read as units or as part of one
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.offset = 0
        self._buffer = bytearray()
        self._at = 0  # in the buffer: the first byte that was not read
        self._error: WireError | None = None

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next(self) -> Unit | Need:
        """The next unit.

        :raise WireError: the channel is damaged here, or exceeds a limit; every later call
            raises it again
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except Incomplete:
            return NEED_DATA
        except WireError as error:
            self._error = error
            raise

    def _next(self) -> Unit | Need:
        raise NotImplementedError

    def _skip_over(self, size: int) -> None:
        self._at += size
        self.offset += size

    def _damage(self, what: str, behind: int = 0) -> WireError:
        """``what`` is wrong ``behind`` bytes after what was read."""
        return WireError(f"{self.where}, byte {self.offset + behind}: {what}")
