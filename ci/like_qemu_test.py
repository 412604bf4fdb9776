#!/usr/bin/env python3
"""The steps of QEMU's tests/functional/test_migration.py, for the benchmark.

Its imports represent those of QEMU's test, whose framework imports qemu.qmp and unittest.

Usage: ci/like_qemu_test.py QEMU
"""

import asyncio  # noqa: F401
import json
import socket
import subprocess
import sys
import tempfile
import time
import unittest  # noqa: F401
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import qemu.qmp  # noqa: F401

from harness.vm import command_line


class BareQemu:
    """A QEMU without devices and a minimal monitor client."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        is_incoming: bool = False,
        ram_mib: int = 64,
        options: Sequence[str] = (),
    ) -> None:
        ours, theirs = socket.socketpair()
        argv = command_line.build(
            str(binary),
            machine="q35",
            ram_mib=ram_mib,
            monitor_fd=theirs.fileno(),
            boot=("-bios", str(folder / "halt.bin")),
            devices=(),
            trace=(),
            trace_folder=folder,
            is_incoming=is_incoming,
        )
        argv = argv[: argv.index("-d")] + (["-incoming", "defer"] if is_incoming else [])
        argv += options
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
        theirs.close()
        self.socket = ours
        self.stream = ours.makefile("rw", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
        self.socket.close()
        self.process.kill()
        self.process.wait()

    def negotiate(self) -> None:
        self.stream.readline()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> dict[str, object]:
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        while "return" not in (answer := json.loads(self.stream.readline())):
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
        returned: dict[str, object] = answer["return"]
        return returned

    def wait_for(self, status: str) -> None:
        """Wait for a MIGRATION event with ``status``."""
        while True:
            message = json.loads(self.stream.readline())
            if message.get("event") == "MIGRATION" and message["data"]["status"] == status:
                return

    def quit(self) -> None:
        self.execute("quit")
        self.process.wait()


def migrate(binary: Path, folder: Path) -> None:
    """The steps of QEMU's tests/functional/test_migration.py over a unix socket.

    Like that test, it starts the destination, then the source, and queries both every 0.1 s.
    """
    path = str(folder / "own.sock")
    with (
        BareQemu(binary, folder, is_incoming=True) as destination,
        BareQemu(binary, folder) as source,
    ):
        destination.negotiate()
        source.negotiate()
        destination.execute("migrate-incoming", uri=f"unix:{path}")
        source.execute("migrate", uri=f"unix:{path}")
        for qemu in (source, destination):
            while qemu.execute("query-migrate").get("status") != "completed":
                time.sleep(0.1)  # noqa: TID251 - as QEMU's test does
        source.quit()
        destination.quit()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="vfio-multifd-bench-") as own:
        (Path(own) / "halt.bin").write_bytes(command_line.firmware())
        migrate(Path(sys.argv[1]), Path(own))
