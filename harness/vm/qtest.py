"""Writes to guest memory as a driver in the guest would, by QEMU's qtest protocol.

The human monitor can write I/O ports only.  One end of a socket pair is the chardev of a ``qtest``
object; a line is a command, and QEMU answers it with a line (system/qtest.c).
"""

import asyncio
import socket
from collections.abc import Sequence

from harness.errors import LostVM

_TIMEOUT_S = 20.0


class QTest:
    """The qtest object of a QEMU.

    ``options`` go on its command line, ``fd`` is inherited by it; ``started`` is called then.
    """

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    @property
    def fd(self) -> int:
        """QEMU's end."""
        return self._theirs.fileno()

    def options(self) -> Sequence[str]:
        """QEMU options for it."""
        return (
            *("-chardev", f"socket,id=qtest,fd={self.fd}"),
            *("-object", "qtest,id=qtest,chardev=qtest,log=none"),
        )

    def started(self) -> None:
        """Close our copy of QEMU's end, so that its end is seen."""
        self._theirs.close()

    async def write(self, address: int, *words: int) -> None:
        """Write 32-bit ``words`` to guest memory from ``address`` on.

        :raise LostVM: QEMU did not answer
        """
        for number, word in enumerate(words):
            await self._command(f"writel {address + 4 * number:#x} {word:#x}")

    async def _command(self, line: str) -> None:
        loop, answer = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await loop.sock_sendall(self._ours, line.encode() + b"\n")
                while not answer.endswith(b"\n"):
                    data = await loop.sock_recv(self._ours, 4096)
                    if not data:
                        break
                    answer += data
        except (TimeoutError, OSError) as error:
            raise LostVM(f"qtest: {line}: no answer") from error
        if not answer.startswith(b"OK"):
            raise LostVM(f"qtest: {line}: {answer.decode(errors='replace').strip() or 'no answer'}")

    def close(self) -> None:
        """Close both ends; may be called again."""
        self._theirs.close()
        self._ours.close()
