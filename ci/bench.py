#!/usr/bin/env python3
"""Speed as ratios: A and B in turn in one run, and the median of the ratios.

Absolute times on a shared machine vary; ratios of consecutive measurements vary less.  The README
quotes the table that ``make bench`` prints.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import like_qemu_test  # type: ignore[import-not-found]  # in the folder of this script
from like_qemu_test import BareQemu

from harness.check.judge import judge
from harness.history import Record, Side, plain
from harness.history.rundir import CAPTURE, RunDir
from harness.job.run import run_scenario
from harness.proxy.address import UnixAddress
from harness.proxy.capture import Capture
from harness.proxy.chain import Chain
from harness.proxy.relay import Relay
from harness.scenario import EmulatedDevice, Scenario, to_json
from harness.session.session import Session
from harness.session.source import scenario_of
from harness.trace.catalogue import Catalogue
from harness.trace.reader import TraceReader
from harness.vm import builds, command_line, migration

GIB = 1 << 30
RECORDS = 1_000_000


def main() -> int:
    """Measure, print, and exit with 0: a benchmark judges nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", default="")
    parser.add_argument("--rounds", type=int, default=15, help="number of pairs of each comparison")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="measure only the rows with WORD in their name"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    binary = builds.find(options.qemu)
    rows = []
    with tempfile.TemporaryDirectory(prefix="vfio-multifd-bench-") as folder:
        bench = Bench(binary, Path(folder), options.rounds)
        for name, goal, measure in (
            ("scenario, 16 MiB, with verdict / bare start and quit of two QEMUs", "<= 3",
             bench.scenario_to_bare),
            ("scenario, 16 MiB, with verdict / QEMU's own migration test, in the test", "<= 1",
             bench.scenario_to_qemu_test),
            ("`vfio-multifd run` of it as a process / QEMU's own migration test as a process",
             "<= 1", bench.process_to_qemu_test),
            ("replay, 16 MiB, with verdict / bare start and quit of one QEMU", "<= 2.5",
             bench.replay_to_bare),
            ("throughput of 1 GiB state: traced and checked / plain", ">= 0.8",
             bench.throughput),
            ("1 GiB state, 4 channels: through the relay / direct", ">= 0.8", bench.relay_state),
            ("512 MiB RAM, 4 channels: through the relay / direct", ">= 0.8", bench.relay_ram),
            ("trace reader and checker, records a second", ">= 200000", bench.records),
        ):  # fmt: skip
            if options.only not in name:
                continue
            value, detail = measure()
            rows.append({"what": name, "goal": goal, "value": round(value, 2), "detail": detail})
            if not options.json:
                print(f"{value:>12.2f}  goal {goal:<10}  {name}\n{'':14}{detail}", flush=True)
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
    return 0


class Bench:
    """Each method is one comparison; it returns the ratio and the absolute figures as text."""

    def __init__(self, binary: Path, folder: Path, rounds: int) -> None:
        self.binary = binary
        self.folder = folder
        self.rounds = rounds
        (folder / "halt.bin").write_bytes(command_line.firmware())
        self.scenario = Scenario(name="bench", qemu=str(binary))

    def scenario_to_bare(self) -> tuple[float, str]:
        """A complete run against two QEMUs that are started up to QMP and then quit."""
        return self._ratio(self._run_scenario, self._bare)

    def replay_to_bare(self) -> tuple[float, str]:
        """A replay into a new destination, with verdict, against one QEMU."""
        (made,) = asyncio.run(run_scenario(self.scenario, self.folder / "runs", has_capture=True))
        path = made.rundir / CAPTURE

        def replay() -> None:
            capture = Capture.open(path)
            wanted = scenario_of(capture, str(self.binary))
            asyncio.run(run_scenario(wanted, self.folder / "runs", replayed=capture))

        def bare() -> None:
            with BareQemu(self.binary, self.folder) as qemu:
                qemu.negotiate()
                qemu.quit()

        return self._ratio(replay, bare)

    def scenario_to_qemu_test(self) -> tuple[float, str]:
        """Against the steps of QEMU's test_migration.py, in this process."""
        return self._ratio(self._run_scenario, self._like_qemu_test)

    def process_to_qemu_test(self) -> tuple[float, str]:
        """Both as separate processes, each with its imports."""
        path = self.folder / "scenario.json"
        path.write_bytes(to_json(self.scenario))
        ours = [sys.executable, "-m", "harness.cli", "run", str(path), "--no-progress",
                "--runs", str(self.folder / "runs")]  # fmt: skip
        theirs = [sys.executable, like_qemu_test.__file__, str(self.binary)]

        def run(argv: list[str]) -> None:
            status = subprocess.run(argv, check=False, stdout=subprocess.DEVNULL).returncode
            if status not in (0, 2):  # 2: a known deviation interrupted it; the median copes
                raise RuntimeError(f"{argv[0]}: exit status {status}")

        return self._ratio(lambda: run(ours), lambda: run(theirs))

    def throughput(self) -> tuple[float, str]:
        """Bytes per second from ``migrate`` to the destination's RESUME, complete run or plain."""
        big = EmulatedDevice(id="vfio0", size=GIB)

        def seconds(is_plain: bool) -> float:
            scenario = Scenario(
                name="throughput",
                qemu=str(self.binary),
                devices=(big,),
                deadline_s=120,
                trace=() if is_plain else Scenario(name="default").trace,
            )
            if is_plain:
                return asyncio.run(self._plain(scenario))
            (run,) = asyncio.run(run_scenario(scenario, self.folder / "runs"))
            return _transfer_seconds(run.history.records)

        return self._rates(1.0, lambda: seconds(True), lambda: seconds(False))

    def relay_state(self) -> tuple[float, str]:
        """Bytes of device state per second from ``migrate`` to the destination's RESUME."""
        big = EmulatedDevice(id="vfio0", size=GIB)

        def seconds(has_relay: bool) -> float:
            scenario = Scenario(
                name="relay", qemu=str(self.binary), devices=(big,), deadline_s=120, trace=(),
                relay=has_relay,
            )  # fmt: skip
            return asyncio.run(self._plain(scenario))

        return self._rates(1.0, lambda: seconds(False), lambda: seconds(True))

    def relay_ram(self) -> tuple[float, str]:
        """Bytes of RAM per second from ``migrate`` to ``completed``; no VFIO device."""
        size = 512 << 20
        contents = self.folder / "ram"
        with contents.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        settings = {"ram_mib": 1024, "options": (
            "-device", f"loader,file={contents},addr=0x1000000,force-raw=on")}  # fmt: skip

        def seconds(has_relay: bool) -> float:
            with (
                BareQemu(self.binary, self.folder, is_incoming=True, **settings) as destination,
                BareQemu(self.binary, self.folder, **settings) as source,
            ):
                address = UnixAddress(f"vfio-multifd-bench-{secrets.token_hex(8)}")
                for qemu in (source, destination):
                    qemu.negotiate()
                    qemu.execute("migrate-set-capabilities", capabilities=[
                        {"capability": name, "state": True}
                        for name in ("events", "multifd", "return-path")])  # fmt: skip
                    qemu.execute("migrate-set-parameters", **{
                        "multifd-channels": 4, "max-bandwidth": migration.UNLIMITED_BYTES_PER_S,
                        "downtime-limit": migration.DOWNTIME_LIMIT_MS})  # fmt: skip
                destination.execute("migrate-incoming", **migration.channels(address.qmp()))
                here = UnixAddress(f"vfio-multifd-bench-{secrets.token_hex(8)}")
                relay = Relay(here, address, Chain(), lambda _seen: None)
                relay.start()
                start = time.perf_counter()
                to = relay.address if has_relay else address
                source.execute("migrate", **migration.channels(to.qmp()))
                source.wait_for("completed")
                taken = time.perf_counter() - start
                relay.close()
                return taken

        return self._rates(0.5, lambda: seconds(False), lambda: seconds(True))

    def _rates(
        self, gib: float, plain: Callable[[], float], ours: Callable[[], float]
    ) -> tuple[float, str]:
        for warm_up in (plain, ours):
            warm_up()  # the first use of that much memory is slow
        pairs = [(plain(), ours()) for _ in range(max(3, self.rounds // 3))]
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        return ratio, f"{gib / b:.2f} GiB/s against {gib / a:.2f} GiB/s (n={len(pairs)})"

    async def _plain(self, scenario: Scenario) -> float:
        async with Session(scenario, RunDir.create(self.folder / "runs", "plain")) as session:
            await session.boot()
            await session.transfer()
            taken = _transfer_seconds(session.records)
            await session.stop()
        return taken

    def records(self) -> tuple[float, str]:
        """From a million trace lines to a verdict."""
        path = builds.trace_events_path(self.binary)
        (run,) = asyncio.run(run_scenario(self.scenario, self.folder / "runs"))
        others = [record for record in run.history.records if record.kind != "trace"]
        name = "vfio_load_state_device_buffer"
        count = RECORDS // 4
        lines = b"".join(
            b"%d@1700000000.%06d:%s (VFIO_FD9) idx %d \n" % (tid, i % 10**6, event, i)
            for i in range(count)
            for tid, event in (
                (7, f"{name}_incoming".encode()),
                (8, f"{name}_starved".encode()),
                (8, f"{name}_load_start".encode()),
                (8, f"{name}_load_end".encode()),
            )
        )
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            catalogue = Catalogue.parse(path.read_text(), str(path))
            reader = TraceReader(catalogue, Side.DESTINATION, {"VFIO_FD9": "vfio0"})
            records = others + reader.feed(lines) + reader.close()
            judge(type(run.history)(run.history.scenario, run.history.manifest, records))
            rates.append(4 * count / (time.perf_counter() - start))
        return statistics.median(rates), f"{4 * count} lines, n={len(rates)}"

    # -- what is compared ------------------------------------------------------------

    def _ratio(self, a: Callable[[], object], b: Callable[[], object]) -> tuple[float, str]:
        for warm_up in (a, b):
            warm_up()
        pairs = [(_timed(a), _timed(b)) for _ in range(self.rounds)]
        ratio = statistics.median(x / y for x, y in pairs)
        ours, theirs = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
        return ratio, f"{ours:.0f} ms against {theirs:.0f} ms (n={len(pairs)})"

    def _run_scenario(self) -> None:
        asyncio.run(run_scenario(self.scenario, self.folder / "runs"))

    def _bare(self) -> None:
        with contextlib.ExitStack() as stack:
            pair = [stack.enter_context(BareQemu(self.binary, self.folder)) for _ in range(2)]
            for qemu in pair:
                qemu.negotiate()
            for qemu in pair:
                qemu.quit()

    def _like_qemu_test(self) -> None:
        like_qemu_test.migrate(self.binary, self.folder)


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _transfer_seconds(records: Sequence[Record]) -> float:
    started = next(
        r.t_ns for r in records if r.name == "execute" and plain(r)["command"] == "migrate"
    )
    resumed = next(r.t_ns for r in records if r.name == "RESUME" and r.side is Side.DESTINATION)
    return float(resumed - started) / 1e9


if __name__ == "__main__":
    sys.exit(main())
