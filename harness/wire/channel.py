"""Bytes of one multifd channel, in pieces of any size, become packets.

``feed`` what was received, then ask ``next`` until it gives ``NEED_DATA``.  The pages of
RAM packets come out as ``Pages`` just as they came in, so that nothing is held of them;
device-state packets come out whole.  After an error the channel stays in error: what
follows cannot be told apart.
"""

from dataclasses import dataclass

from harness.wire.packets import (
    DEVICE_STATE_HEAD_SIZE,
    FLAG_DEVICE_STATE,
    HEADER,
    HELLO,
    MAGIC,
    PACKET_SIZE,
    VERSION,
    DeviceStatePacket,
    MultiFDInit,
    RamPacket,
    ram_head_size,
    stated_payload_size,
)
from harness.wire.reader import NEED_DATA, Need, Reader

PAYLOAD_LIMIT = (1 << 20) + (64 << 10)
"""Largest payload of a device-state packet that is taken: QEMU sends at most 1 MiB of data
(VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE) and its header; a configuration is a few KiB."""
PAGES_LIMIT = 1 << 20
"""Largest ``next_packet_size`` of a RAM packet: 512 KiB of pages, or what a compressor
makes of pages that it cannot shrink."""


@dataclass(frozen=True, slots=True)
class Pages:
    """A piece of a RAM packet's pages."""

    data: bytes


Unit = MultiFDInit | RamPacket | DeviceStatePacket | Pages


class ChannelReader(Reader[Unit]):
    """Reads one direction of one multifd channel.

    :param where: side and channel, for messages
    :param page_size: of the target; it decides the length of a RAM packet's head
    """

    def __init__(self, where: str, page_size: int = 4096) -> None:
        super().__init__(where)
        self._pages_alloc = PACKET_SIZE // page_size
        self._pages_left = 0
        self._has_hello = False
        self._ram_head_size = ram_head_size(page_size)

    def close(self) -> None:
        """The channel has ended.

        :raise WireError: inside a unit
        """
        if self.buffered or self._pages_left:
            raise self._damage(f"ends inside a packet, {self.buffered} bytes into it")

    def _next(self) -> Unit | Need:
        if self._pages_left:
            return self._take_pages()
        if not self._has_hello:
            if self.buffered < HELLO.size:
                return NEED_DATA
            hello = MultiFDInit.unpack(self._peek(HELLO.size))
            self._check(hello.magic, hello.version)
            self._has_hello = True
            self._take(HELLO.size)
            return hello
        if self.buffered < HEADER.size:
            return NEED_DATA
        magic, version, flags = HEADER.unpack(self._peek(HEADER.size))
        self._check(magic, version)
        return self._device_state() if flags & FLAG_DEVICE_STATE else self._ram()

    def _device_state(self) -> Unit | Need:
        if self.buffered < DEVICE_STATE_HEAD_SIZE:
            return NEED_DATA
        size = stated_payload_size(self._peek(DEVICE_STATE_HEAD_SIZE))
        if size > PAYLOAD_LIMIT:
            raise self._damage(f"device state of {size} bytes, more than {PAYLOAD_LIMIT}")
        if self.buffered < DEVICE_STATE_HEAD_SIZE + size:
            return NEED_DATA
        head = self._take(DEVICE_STATE_HEAD_SIZE)
        return DeviceStatePacket.unpack(head, self._take(size))

    def _ram(self) -> Unit | Need:
        if self.buffered < self._ram_head_size:
            return NEED_DATA
        packet = RamPacket.unpack(self._peek(self._ram_head_size))
        if packet.next_packet_size > PAGES_LIMIT:
            raise self._damage(f"pages of {packet.next_packet_size} bytes, more than {PAGES_LIMIT}")
        if packet.pages_alloc not in (0, self._pages_alloc):  # 0: a lone SYNC
            raise self._damage(
                f"a RAM packet for {packet.pages_alloc} pages instead of {self._pages_alloc}: "
                "this QEMU's page size or MULTIFD_PACKET_SIZE is another"
            )
        self._take(self._ram_head_size)
        self._pages_left = packet.next_packet_size
        return packet

    def _take_pages(self) -> Unit | Need:
        size = min(self._pages_left, self.buffered)
        if not size:
            return NEED_DATA
        self._pages_left -= size
        return Pages(self._take(size))

    def _peek(self, size: int) -> bytes:
        return bytes(memoryview(self._buffer)[self._at : self._at + size])

    def _take(self, size: int) -> bytes:
        data = self._peek(size)
        self._skip_over(size)
        return data

    def _check(self, magic: int, version: int) -> None:
        if magic != MAGIC:
            raise self._damage(f"magic {magic:#010x}, not {MAGIC:#010x}")
        if version != VERSION:
            raise self._damage(f"version {version}, not {VERSION}")
