"""The two ends of a data_fd: what each ``read()`` gives and each ``write()`` takes.

``Saving`` and ``Loading`` decide and keep count; the bytes themselves are moved by the
supervisor.  Where QEMU works on a memfd, no call is seen and ``Loading`` is shown the
memfd's content afterwards.
"""

import errno
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import xxhash

from harness.history.device import PrecopyChanged, Received, Sent
from harness.scenario import MIB, EmulatedDevice, Lie
from harness.scenario.precopy import PrecopyChange
from harness.vfio.state_bytes import CHUNK, GoOn, StateBytes, first_difference, to_the_end


class StateMemory(Protocol):
    """A memfd that QEMU loads the state into."""

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``."""

    def size(self) -> int:
        """Bytes in it."""

    def truncate(self, size: int) -> None:
        """Cut it off after ``size`` bytes."""


@dataclass(frozen=True, slots=True)
class Share:
    """The result of one call: ``count`` bytes at ``offset``, or ``errno``."""

    offset: int
    count: int
    errno: int = 0


def _turns(sizes: tuple[int, ...]) -> Iterator[int | None]:
    return itertools.cycle(sizes) if sizes else itertools.repeat(None)


def _share(position: int, asked: int, limit: int | None, error_at: int | None) -> Share:
    """``asked`` bytes at ``position``, cut to ``limit`` and to the position of the error."""
    if error_at is not None and position >= error_at:
        return Share(position, 0, errno.EIO)
    count = asked if limit is None else min(asked, limit)
    return Share(position, count if error_at is None else min(count, error_at - position))


def _ignore(_change: PrecopyChanged) -> None: ...


class Saving:
    """A source device gives its state.

    Its size may change until the device stops: what pre-copy gives, up to ``precopy_end``, is
    followed by what is left for stop-copy.

    :param observe: records changes of what there is for pre-copy
    :param has_flags: whether QEMU has set MIG_PRECOPY_INFOv2
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        state: StateBytes,
        observe: Callable[[PrecopyChanged], None] = _ignore,
        *,
        has_flags: bool = False,
    ) -> None:
        self.state = state
        self.position = 0
        self.precopy_end = spec.precopy_size
        self._is_reinit = False
        self._reads = 0
        self._was_asked_at = -1
        self._initial_end = min(spec.precopy_initial_bytes, spec.precopy_size)
        self._left_for_stop = state.total - spec.precopy_size
        self._observe = observe
        self._has_flags = has_flags
        self._due: dict[int, float] = {
            number: each.at
            for number, each in enumerate(spec.precopy_changes)
            if each.at is not None
        }
        self._spec = spec
        self._is_stopped = False
        self._sizes = _turns(spec.save.read_sizes)
        self._next_size = next(self._sizes)

    def stop(self, head: bytes) -> None:
        """The device has stopped with ``head`` as its contents; all of its state can be read."""
        self._is_stopped = True
        self.state = StateBytes(self.state.seed, self.state.total, head, self.precopy_end)

    def precopy_left(self) -> tuple[int, int]:
        """Initial and dirty bytes that are left in pre-copy."""
        initial = max(0, self._initial_end - self.position)
        return initial, max(0, self.precopy_end - self.position - initial)

    def ask(self, since_s: float) -> bool:
        """QEMU asks what is left; returns whether there are new initial bytes.

        :param since_s: time since the device entered PRE_COPY
        """
        is_check = self._was_asked_at == self._reads
        self._was_asked_at = self._reads
        self._pass_moment(since_s, lambda change: change.at_check and is_check)
        was_reinit, self._is_reinit = self._is_reinit, False
        return was_reinit

    def enter_p2p(self, since_s: float) -> None:
        """The device enters PRE_COPY_P2P, so long after PRE_COPY."""
        self._pass_moment(since_s, lambda change: change.at_switchover)

    def _pass_moment(self, since_s: float, is_due: Callable[[PrecopyChange], bool]) -> None:
        for number, change in enumerate(self._spec.precopy_changes):
            is_past = change.after_s is not None and since_s >= change.after_s
            if number not in self._due and (is_past or is_due(change)):
                self._due[number] = math.inf
                self._change(number, change)

    def _pass_bytes(self) -> None:
        for number, change in enumerate(self._spec.precopy_changes):
            while change.at is not None and self.position >= self._due[number]:
                self._due[number] += change.every or math.inf
                self._change(number, change)

    def _change(self, number: int, change: PrecopyChange) -> None:
        if self._is_stopped:
            return
        new, dirty = change.initial_bytes, change.dirty_bytes
        if new is not None and self._has_flags:
            self._initial_end = self.precopy_end = self.position + new
            self._is_reinit = True
        else:
            least = max(self.position, self._initial_end)
            self.precopy_end = max(least, self.precopy_end + dirty + (new or 0))
        total = self.precopy_end + self._left_for_stop
        self.state = StateBytes(self.state.seed, total, head_at=self.precopy_end)
        self._observe(
            PrecopyChanged(number, self.position, *self.precopy_left(), is_reinit=self._is_reinit)
        )

    def read(self, asked: int) -> Share:
        """The result of a ``read()`` of ``asked`` bytes; count 0 without errno is the end.

        ENOMSG while running: pre-copy has no more data for now (``vfio.h``).
        """
        self._reads += 1
        end = self.state.total if self._is_stopped else self.precopy_end
        if self.position >= end and not self._is_stopped:
            return Share(self.position, 0, errno.ENOMSG)
        return _share(
            self.position,
            min(asked, end - self.position),
            self._next_size,
            self._spec.save.error_at,
        )

    def data(self, share: Share) -> bytes:
        """The bytes of ``share``."""
        return self.state.chunk(share.offset, share.count)

    def commit(self, count: int) -> None:
        """``count`` bytes have reached the target."""
        self.position += count
        self._next_size = next(self._sizes)
        self._pass_bytes()

    def report(self, go_on: GoOn = to_the_end) -> Sent:
        """The state that was given, for a record.

        :raise Stopped: by ``go_on``
        """
        return Sent(bytes=self.state.total, digest=self.state.digest(go_on))


class Loading:
    """A destination device takes its state.

    :param expected: returns the state that the source device gave, once that is known
    :ivar memory: the memfd that QEMU writes; None if single writes are committed
    :ivar has_lied: whether a lie has changed the state
    """

    def __init__(self, spec: EmulatedDevice, expected: Callable[[], StateBytes | None]) -> None:
        self.memory: StateMemory | None = None
        self.has_lied = False
        self.position = 0
        self._expected = expected
        self._spec = spec
        self._sizes = _turns(spec.load.write_sizes)
        self._next_size = next(self._sizes)
        self._digest = xxhash.xxh3_128()
        self._first_difference = -1
        self._is_compared = True
        self._head = bytearray()
        self._head_size = 0

    def keep_head(self, size: int) -> None:
        """Keep the ``size`` bytes after the pre-copy part: the device's contents."""
        self._head_size = size

    def write(self, asked: int) -> Share:
        """How much of a ``write()`` of ``asked`` bytes is accepted."""
        return _share(self.position, asked, self._next_size, self._spec.load.error_at)

    def deliver(self, share: Share, _data: bytes) -> Share:
        """The device gets the bytes of ``share``, before QEMU knows: the result of the call."""
        return share

    def commit(self, data: bytes) -> None:
        """The device has taken ``data`` at the present position."""
        self._digest.update(data)
        expected = self._expected()
        if expected is None:
            self._is_compared = False
        elif self._first_difference < 0:
            at = first_difference(data, expected.chunk(self.position, len(data)))
            if at >= 0:
                self._first_difference = self.position + at
        at = self._precopy_size() + len(self._head) - self.position
        if 0 <= at < len(data) and len(self._head) < self._head_size:
            self._head += data[at : at + self._head_size - len(self._head)]
        self.position += len(data)
        self._next_size = next(self._sizes)

    def finish(self) -> bytes:
        """The device leaves RESUMING: its contents as in the state, perhaps cut short."""
        if self.memory is None:
            return bytes(self._head)
        if self._spec.load.lie is not None:
            self.has_lied = self._tell_lie(self.memory, self._spec.load.lie)
        return self.memory.read(self._precopy_size(), self._head_size)

    def _precopy_size(self) -> int:
        """Bytes in front of the device's contents, as far as they are known to be there: the
        source's device never gives more in pre-copy than it has for it."""
        expected = self._expected() if self._spec.precopy_changes else None
        return self._spec.precopy_size if expected is None else expected.head_at

    def report(self, go_on: GoOn = to_the_end) -> Received:
        """The state that was taken, for a record; call once, after the last write.

        :raise Stopped: by ``go_on``
        """
        if self.memory is not None:
            while data := self.memory.read(self.position, CHUNK):
                go_on()
                self.commit(data)
        expected = self._expected()
        wanted = expected.total if expected is not None else -1
        digest = self._digest.hexdigest()
        is_same = self._first_difference < 0 and self.position == wanted
        if is_same and not self._is_compared and expected is not None:
            is_same = digest == expected.digest(go_on)
        return Received(
            bytes=self.position,
            digest=digest,
            expected_bytes=wanted,
            expected_digest=digest if expected is None else expected.digest(go_on),
            first_difference=-1
            if is_same
            else self._first_difference
            if self._first_difference >= 0
            else min(self.position, wanted),
        )

    def _tell_lie(self, memory: StateMemory, lie: Lie) -> bool:
        """Change the state in ``memory``; returns whether anything differs now."""
        total = memory.size()
        size = min(
            MIB,
            self._spec.total_size if self._spec.reported_size is None else self._spec.reported_size,
            *self._spec.save.read_sizes[:1],
        )
        start = self._spec.load.lie_at * size
        buffer = memory.read(start, min(size, max(0, total - start)))
        if not buffer:
            return False
        rest_at = start + len(buffer)
        match lie:
            case Lie.WRONG_BYTE:
                middle = len(buffer) // 2
                memory.write(start + middle, bytes((buffer[middle] ^ 0xFF,)))
            case Lie.LOST_BUFFER:
                memory.write(start, memory.read(rest_at, total - rest_at))
                memory.truncate(total - len(buffer))
            case Lie.SWAPPED_BUFFERS:
                rest = memory.read(rest_at, size)
                memory.write(start, rest + buffer)
                return rest + buffer != buffer + rest
        return True
