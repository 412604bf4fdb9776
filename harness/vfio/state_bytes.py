"""The bytes of a device's state: any size, any offset, from a seed, in bounded memory.

AES-128 in counter mode: every byte depends on its offset, so a buffer that is lost,
swapped or moved is seen at its first byte, and a chunk at any offset costs only its
own length (several GB/s).  The layout is::

    0 ......... precopy_size ................................ total_size
    [ generated | registers (60) | BAR 0 | generated to the end          ]

The registers and BAR 0 are the device's contents when it stopped, cut off if the state is
smaller.  The destination's guest finds them again.
"""

import hashlib
from collections.abc import Callable, Iterator

import xxhash

CHUNK = 1 << 20
_BLOCK = 16
_ZEROS = bytes(CHUNK)

GoOn = Callable[[], None]
"""Called before each chunk of a long task; raises ``Stopped`` to end it."""


class Stopped(Exception):
    """A long task on a state was stopped; ``str()`` has the reason."""


def to_the_end() -> None:
    """A ``GoOn`` that never stops a task."""


def generate(seed: int, offset: int, length: int) -> bytes:
    """``length`` bytes of the stream of ``seed``, from ``offset``."""
    # Imported by the thread that generates states, while the QEMUs start.
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CTR  # noqa: PLC0415

    key = hashlib.sha256(f"vfio state {seed}".encode()).digest()[:16]
    block, skip = divmod(offset, _BLOCK)
    stream = Cipher(AES(key), CTR(block.to_bytes(16, "big"))).encryptor()
    wanted = skip + length
    zeros = _ZEROS if wanted == len(_ZEROS) else bytes(wanted)
    data = stream.update(zeros)
    return data[skip:] if skip else data


class StateBytes:
    """One device's state at one moment: ``total`` bytes, ``head`` lying at ``head_at``."""

    def __init__(self, seed: int, total: int, head: bytes = b"", head_at: int = 0) -> None:
        self.seed = seed
        self.total = total
        self.head = head[: max(0, total - head_at)]
        self.head_at = head_at
        self._digest = ""

    def chunk(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``, at most ``length``, none past the end."""
        length = max(0, min(length, self.total - offset))
        data = generate(self.seed, offset, length)
        if offset >= self.head_at + len(self.head) or offset + length <= self.head_at:
            return data
        first = max(offset, self.head_at)
        last = min(offset + length, self.head_at + len(self.head))
        head = self.head[first - self.head_at : last - self.head_at]
        return data[: first - offset] + head + data[last - offset :]

    def chunks(self) -> Iterator[bytes]:
        """All of it, in pieces of at most 1 MiB."""
        for offset in range(0, self.total, CHUNK):
            yield self.chunk(offset, CHUNK)

    def digest(self, go_on: GoOn = to_the_end) -> str:
        """XXH3-128 of all of it, in hex; worked out once.

        :raise Stopped: by ``go_on``
        """
        if not self._digest:
            self._digest = digest(self.chunks(), go_on)
        return self._digest


def digest(chunks: Iterator[bytes], go_on: GoOn = to_the_end) -> str:
    """XXH3-128 of the chunks one after the other, in hex.

    :raise Stopped: by ``go_on``
    """
    state = xxhash.xxh3_128()
    for chunk in chunks:
        go_on()
        state.update(chunk)
    return state.hexdigest()


def first_difference(a: bytes, b: bytes) -> int:
    """Offset of the first byte in which ``a`` and ``b`` differ; -1: none in the shorter one."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return -1
    low, high = 0, length  # a[:low] == b[:low], a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
