#!/usr/bin/env python3
"""Speed as ratios: A and B in turn in one run, and the median of the ratios.

Absolute times on a shared machine vary; ratios of consecutive measurements vary less.  The README
quotes the table that ``make bench`` prints.  ``vfio-multifd compare`` compares two files of --json.

A round that an intermittent known deviation of QEMU took is repeated, and the row says so.
"""

import argparse
import asyncio
import compileall
import contextlib
import datetime
import functools
import itertools
import json
import os
import platform
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import like_qemu_test  # type: ignore[import-not-found]  # in the folder of this script
import msgspec
from like_qemu_test import BareQemu

import harness
from harness.check.judge import judge
from harness.errors import HarnessError
from harness.history import Record, Side, plain
from harness.history.rundir import CAPTURE, RunDir
from harness.job.known import interrupted_by
from harness.job.run import Run, run_scenario
from harness.measure.benchmark import Benchmark, Goal, Row
from harness.proxy.address import UnixAddress
from harness.proxy.capture import Capture
from harness.proxy.chain import Chain
from harness.proxy.relay import Relay
from harness.report import benchmark_text
from harness.scenario import EmulatedDevice, Scenario, to_json
from harness.scenario.fault_plan import Drop, Select
from harness.session.session import Session
from harness.session.source import scenario_of
from harness.trace.catalogue import Catalogue
from harness.trace.reader import TraceReader
from harness.vm import builds, command_line, migration

GIB = 1 << 30
RECORDS = 1_000_000
_ROOT = Path(__file__).resolve().parent.parent
_MOST_REPEATED = 10
"""So many rounds of one row may be repeated; then something else is wrong."""


PHASES = (
    "prepare the session",
    "start the QEMUs and configure them",
    "begin the migration",
    "migrate",
    "ask and end the QEMUs, compare, read traces",
    "judge and write",
)
"""Between the steps that a run reports."""


class Taken(Exception):
    """An intermittent known deviation took the round; ``str()`` is its name."""


class Failed(Exception):
    """A run did not do what is measured."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A row that is to be measured.

    :ivar measure: returns the figure of one round
    :ivar base: the same for what it is divided by; None if it is not
    :ivar share: of the rounds of a short row
    """

    name: str
    goal: Goal
    unit: str
    measure: Callable[[], float]
    base: Callable[[], float] | None = None
    share: float = 1.0


def main() -> int:
    """Measure and print.  Exit status 3: a row could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", default="", help="QEMU to measure with")
    parser.add_argument("--broken", default="", metavar="QEMU",
                        help="build with a defect: also measure when the main job has found "
                        "it")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=15, metavar="N",
                        help="rounds of a short row; longer ones get fewer "
                        "(default: 15)")  # fmt: skip
    parser.add_argument("--only", action="append", default=[], metavar="WORD",
                        help="measure only the rows with WORD in their name "
                        "(repeatable)")  # fmt: skip
    parser.add_argument("--suites", action="store_true",
                        help="also measure the unit and the functional tests, which takes "
                        "minutes")  # fmt: skip
    parser.add_argument("--phases", action="store_true",
                        help="measure only where the time of a scenario and of a replay "
                        "goes")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="write all figures to FILE, for `vfio-multifd compare`")  # fmt: skip
    options = parser.parse_args()
    compileall.compile_dir(_ROOT / "harness", quiet=1)  # as after set-up
    binary = builds.find(options.qemu)
    if options.phases:
        with tempfile.TemporaryDirectory(prefix="vfio-multifd-bench-") as folder:
            print("\n".join(Bench(binary, Path(folder)).phases(options.rounds)))
        return 0
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory(prefix="vfio-multifd-bench-") as folder:
        broken = builds.find(options.broken) if options.broken else None
        for wanted in Bench(binary, Path(folder), broken).rows(has_suites=options.suites):
            if options.only and not any(word in wanted.name for word in options.only):
                continue
            rows.append(measured(wanted, max(3, round(options.rounds * wanted.share))))
            print(benchmark_text.progress(rows[-1]), file=sys.stderr, flush=True)
    found = Benchmark(
        harness=harness.__version__,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}",
        load=(load, os.getloadavg()[0]),
        qemu=f"QEMU {'.'.join(map(str, builds.version_of(binary)))}",
        rows=tuple(rows),
    )
    print("\n".join(benchmark_text.lines(found)))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return 3 if any(row.failed for row in rows) else 0


def measured(wanted: Wanted, rounds: int) -> Row:
    """The row, after a round that does not count."""
    values: list[float] = []
    base: list[float] = []
    repeated: Counter[str] = Counter()
    failed = ""
    while len(values) <= rounds and not failed:
        try:
            value = wanted.measure()
            other = wanted.base() if wanted.base else 0.0
        except Taken as taken:
            repeated[str(taken)] += 1
            if repeated.total() > _MOST_REPEATED:
                failed = f"known deviations took {repeated.total()} rounds"
            continue
        except (Failed, HarnessError, OSError, RuntimeError) as error:
            failed = f"{type(error).__name__}: {error}"
            continue
        values.append(value)
        base.append(other)
    return Row(
        name=wanted.name,
        goal=wanted.goal,
        unit=wanted.unit,
        values=() if failed else tuple(values[1:]),
        base=tuple(base[1:]) if wanted.base and not failed else (),
        repeated=dict(repeated),
        failed=failed,
    )


def most(limit: float) -> Goal:
    """At most that."""
    return Goal(limit=limit, is_least=False)


def least(limit: float) -> Goal:
    """At least that."""
    return Goal(limit=limit, is_least=True)


class Bench:
    """What is measured, with ``binary``; files go to ``folder``.

    :param broken: a build with a defect that the main job finds
    """

    def __init__(self, binary: Path, folder: Path, broken: Path | None = None) -> None:
        self.binary = binary
        self.broken = broken
        self.folder = folder
        (folder / "halt.bin").write_bytes(command_line.firmware())
        self.scenario = Scenario(name="bench", qemu=str(binary))
        self.big = EmulatedDevice(id="vfio0", size=GIB)
        self._ram = folder / "ram"

    def rows(self, *, has_suites: bool) -> Iterator[Wanted]:
        """All of them, those that take least first."""
        yield Wanted(
            name="`vfio-multifd --help`", goal=most(100), unit="ms",
            measure=lambda: 1000 * self.program("--help"),
        )  # fmt: skip
        yield Wanted(
            name="scenario, 16 MiB, with verdict / bare start and quit of two QEMUs",
            goal=most(3), unit="ms", measure=in_ms(self.run_scenario),
            base=in_ms(lambda: self.bare(2)),
        )  # fmt: skip
        yield Wanted(
            name="replay of 16 MiB, with verdict / bare start and quit of one QEMU",
            goal=most(2.5), unit="ms", measure=in_ms(self.replay), base=in_ms(lambda: self.bare(1)),
        )  # fmt: skip
        yield Wanted(
            name="scenario / the steps of QEMU's `test_migration.py`, which has no device; in one "
            "process",
            goal=most(1), unit="ms", measure=in_ms(self.run_scenario),
            base=in_ms(lambda: like_qemu_test.migrate(self.binary, self.folder)),
        )  # fmt: skip
        yield Wanted(
            name="the same, each as a process of its own, with its imports",
            goal=most(1), unit="ms", measure=in_ms(self.process),
            base=in_ms(lambda: self.other([like_qemu_test.__file__, str(self.binary)])),
        )  # fmt: skip
        yield Wanted(
            name="cost of a hang: a run that loses a packet", goal=most(3), unit="s", share=0.34,
            measure=in_s(self.hang),
        )  # fmt: skip
        yield Wanted(
            name="main job, all scenarios of this QEMU", goal=most(5), unit="s", share=0.34,
            measure=self.main_job,
        )  # fmt: skip
        if self.broken is not None:
            yield Wanted(
                name="main job with `-x`, until it has ended on the violation of a broken QEMU",
                goal=most(5), unit="s", share=0.34, measure=self.first_violation,
            )  # fmt: skip
        yield Wanted(
            name="device-state throughput, 1 GiB, traced and checked / plain",
            goal=least(0.8), unit="GiB/s", share=0.34, measure=self.traced,
            base=lambda: self.state(has_relay=False),
        )  # fmt: skip
        for channels in (4, 16):
            yield Wanted(
                name=f"1 GiB state, {channels} channels, through the relay / direct",
                goal=least(0.95), unit="GiB/s", share=0.34,
                measure=functools.partial(self.state, has_relay=True, channels=channels),
                base=functools.partial(self.state, has_relay=False, channels=channels),
            )  # fmt: skip
        for channels in (4, 16):
            yield Wanted(
                name=f"512 MiB RAM, {channels} channels, through the relay / direct",
                goal=least(0.95), unit="GiB/s", share=0.34,
                measure=functools.partial(self.ram, has_relay=True, channels=channels),
                base=functools.partial(self.ram, has_relay=False, channels=channels),
            )  # fmt: skip
        yield Wanted(
            name="trace reader and checker, one million records", goal=least(200_000),
            unit="records/s", share=0.34, measure=self.records,
        )  # fmt: skip
        for suite in ("unit", "functional") if has_suites else ():
            yield Wanted(
                name=f"{suite} tests", goal=most(150), unit="s", share=0,
                measure=in_s(functools.partial(self.suite, suite)),
            )  # fmt: skip

    # -- where the time goes ---------------------------------------------------------

    def phases(self, rounds: int) -> Iterator[str]:
        """A table: the phases of a scenario, of a replay, and of bare QEMUs; medians."""
        capture = Capture.open(self._capture())
        replayed = scenario_of(capture, str(self.binary))
        columns = {
            "scenario": self._phases_of(rounds, self.scenario),
            "replay": self._phases_of(rounds, replayed, capture),
        }
        bare = [self._bare_phases(2) for _ in range(rounds)]
        yield "| phase, ms | scenario | replay | two bare QEMUs |"
        yield "|---|---|---|---|"
        for number, name in enumerate(PHASES):
            of_bare = (
                f"{statistics.median(each[name] for each in bare):.1f}" if number in (1, 4) else ""
            )
            cells = [f"{columns[each][name]:.1f}" for each in columns]
            yield f"| {name} | {' | '.join(cells)} | {of_bare} |"

    def _phases_of(
        self, rounds: int, scenario: Scenario, replayed: Capture | None = None
    ) -> dict[str, float]:
        """Milliseconds of each phase."""
        found: list[list[float]] = []
        while len(found) <= rounds:
            marks = [time.perf_counter()]

            def step(_name: str, marks: list[float] = marks) -> None:
                marks.append(time.perf_counter())

            runs = asyncio.run(
                run_scenario(scenario, self.folder / "runs", progress=step, replayed=replayed)
            )
            marks.append(time.perf_counter())
            if runs[0].known is None:
                _require_valid(runs[0])
                found.append([1000 * (b - a) for a, b in itertools.pairwise(marks)])
        medians = (statistics.median(each) for each in zip(*found[1:], strict=True))
        return dict(zip(PHASES, medians, strict=True))

    def _bare_phases(self, count: int) -> dict[str, float]:
        with contextlib.ExitStack() as stack:
            start = time.perf_counter()
            both = [stack.enter_context(BareQemu(self.binary, self.folder)) for _ in range(count)]
            for qemu in both:
                qemu.negotiate()
            is_up = time.perf_counter()
            for qemu in both:
                qemu.quit()
            ended = time.perf_counter()
        return {PHASES[1]: 1000 * (is_up - start), PHASES[4]: 1000 * (ended - is_up)}

    # -- runs ------------------------------------------------------------------------

    def run_scenario(self) -> None:
        """A complete run."""
        _require_valid(self._run(self.scenario))

    def replay(self) -> None:
        """A replay into a new destination, with verdict."""
        capture = Capture.open(self._capture())
        wanted = scenario_of(capture, str(self.binary))
        runs = asyncio.run(run_scenario(wanted, self.folder / "runs", replayed=capture))
        _require_valid(runs[0])

    def hang(self) -> None:
        """A run that cannot end: the destination waits for a packet."""
        fault = Drop(select=Select(idx=(1,)))
        device = EmulatedDevice(id="vfio0", size=4 << 20)
        self._run(msgspec.structs.replace(self.scenario, devices=(device,), faults=(fault,)))

    def bare(self, count: int) -> None:
        """QEMUs without a device that are started up to QMP and then quit."""
        with contextlib.ExitStack() as stack:
            all_of_them = [
                stack.enter_context(BareQemu(self.binary, self.folder)) for _ in range(count)
            ]
            for qemu in all_of_them:
                qemu.negotiate()
            for qemu in all_of_them:
                qemu.quit()

    def traced(self) -> float:
        """GiB of device state per second, with trace and verdict."""
        run = self._run(
            Scenario(name="traced", qemu=str(self.binary), devices=(self.big,), deadline_s=120)
        )
        _require_valid(run)
        taken_s = _transfer_s(run.history.records)
        assert taken_s is not None, "it is valid"
        return 1 / taken_s

    def state(self, *, has_relay: bool, channels: int = 4) -> float:
        """GiB of device state per second, from ``migrate`` to the destination's RESUME."""
        wanted = Scenario(
            name="plain", qemu=str(self.binary), devices=(self.big,), deadline_s=120, trace=(),
            relay=has_relay, channels=channels,
        )  # fmt: skip
        return 1 / asyncio.run(self._plain(wanted))

    def ram(self, *, has_relay: bool, channels: int) -> float:
        """GiB of RAM per second from ``migrate`` to ``completed``; no VFIO device."""
        settings: dict[str, Any] = {"ram_mib": 1024, "options": (
            "-device", f"loader,file={self._contents()},addr=0x1000000,force-raw=on")}  # fmt: skip
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
                    "multifd-channels": channels,
                    "max-bandwidth": migration.UNLIMITED_BYTES_PER_S,
                    "downtime-limit": migration.DOWNTIME_LIMIT_MS})  # fmt: skip
            destination.execute("migrate-incoming", **migration.channels(address.qmp()))
            here = UnixAddress(f"vfio-multifd-bench-{secrets.token_hex(8)}")
            relay = Relay(here, address, Chain(), lambda _seen: None)
            relay.start()
            try:
                start = time.perf_counter()
                to = relay.address if has_relay else address
                source.execute("migrate", **migration.channels(to.qmp()))
                source.wait_for("completed")
                return 0.5 / (time.perf_counter() - start)
            finally:
                relay.close()

    def records(self) -> float:
        """Records per second, from a million trace lines to a verdict."""
        path = builds.trace_events_path(self.binary)
        run = self._run(self.scenario)
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
        start = time.perf_counter()
        catalogue = Catalogue.parse(path.read_text(), str(path))
        reader = TraceReader(catalogue, Side.DESTINATION, {"VFIO_FD9": "vfio0"})
        records = others + reader.feed(lines) + reader.close()
        judge(type(run.history)(run.history.scenario, run.history.manifest, records))
        return 4 * count / (time.perf_counter() - start)

    # -- processes -------------------------------------------------------------------

    def process(self) -> None:
        """``vfio-multifd run`` of the scenario."""
        path = self.folder / "scenario.json"
        if not path.exists():
            path.write_bytes(to_json(self.scenario))
        self.program("run", str(path), "--no-progress", "--runs", str(self.folder / "runs"))

    def main_job(self) -> float:
        """Seconds of ``vfio-multifd run``."""
        return self.program(
            "run", "--qemu", str(self.binary), "--runs", str(self.folder / "runs"), "--json"
        )

    def first_violation(self) -> float:
        """Seconds of ``vfio-multifd run -x`` of the broken QEMU."""
        runs = str(self.folder / "runs")
        return self.program("run", "-x", "--qemu", str(self.broken), "--runs", runs, expects=1)

    def program(self, *argv: str, expects: int = 0) -> float:
        """Seconds of a ``vfio-multifd`` command that ends with the status ``expects``.

        :raise Taken: it met a known deviation
        """
        command = [sys.executable, "-m", "harness.cli", *argv]
        start = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, cwd=_ROOT)
        taken_s = time.perf_counter() - start
        if "--json" in argv and done.stdout:
            for run in json.loads(done.stdout).get("runs", ()):
                if run["known"]:
                    raise Taken(run["known"]["name"])
        elif not expects and (found := re.search(rb"known deviation: (\S+)", done.stdout)):
            raise Taken(found[1].decode())
        if done.returncode != expects:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise Failed(f"vfio-multifd {argv[0]}: exit status {done.returncode}: {said[-1:]}")
        return taken_s

    def other(self, argv: Sequence[str]) -> None:
        """Another Python script."""
        subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)

    def suite(self, name: str) -> None:
        """The tests of one folder, as ``make test`` runs them."""
        argv = ["-m", "pytest", "-q", "--numprocesses", "auto", f"tests/{name}",
                "--qemu", str(self.binary)]  # fmt: skip
        done = subprocess.run(
            [sys.executable, *argv], check=False, cwd=_ROOT, stdout=subprocess.DEVNULL
        )
        if done.returncode:
            raise Failed(f"tests/{name}: exit status {done.returncode}")

    # -- parts -----------------------------------------------------------------------

    def _run(self, scenario: Scenario) -> Run:
        (run,) = asyncio.run(run_scenario(scenario, self.folder / "runs"))
        if run.known is not None:
            raise Taken(run.known.name)
        return run

    async def _plain(self, scenario: Scenario) -> float:
        """Seconds of the transfer alone, without a verdict unless it does not end."""
        async with Session(scenario, RunDir.create(self.folder / "runs", "plain")) as session:
            await session.boot()
            await session.transfer()
            taken_s = _transfer_s(session.records)
            history = await session.stop()
        if taken_s is None:
            verdict = judge(history)
            known = interrupted_by(history, verdict)
            if known is not None:
                raise Taken(known.name)
            raise Failed(f"{scenario.name}: the destination did not run the guest")
        return taken_s

    def _capture(self) -> Path:
        """A capture of the scenario, made once."""
        path = self.folder / "made.capture"
        if not path.exists():
            made = asyncio.run(run_scenario(self.scenario, self.folder / "runs", has_capture=True))
            _require_valid(made[0])
            (made[0].rundir / CAPTURE).rename(path)
        return path

    def _contents(self) -> Path:
        """512 MiB for the RAM, which do not compress, made once."""
        if not self._ram.exists():
            with self._ram.open("wb") as file:
                for _ in range(512):
                    file.write(os.urandom(1 << 20))
        return self._ram


def _require_valid(run: Run) -> None:
    if run.known is not None:
        raise Taken(run.known.name)
    if run.verdict.exit_status:
        raise Failed(f"{run.history.scenario.name}: {run.verdict.overall}")


def in_s(action: Callable[[], object]) -> Callable[[], float]:
    """Seconds that ``action`` takes."""

    def taken_s() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return taken_s


def in_ms(action: Callable[[], object]) -> Callable[[], float]:
    """The same in milliseconds."""
    seconds = in_s(action)
    return lambda: 1000 * seconds()


def _transfer_s(records: Sequence[Record]) -> float | None:
    """From ``migrate`` to the destination's RESUME; None if it did not come."""
    started = [r.t_ns for r in records if r.name == "execute" and plain(r)["command"] == "migrate"]
    resumed = [r.t_ns for r in records if r.name == "RESUME" and r.side is Side.DESTINATION]
    return (resumed[0] - started[0]) / 1e9 if started and resumed else None


if __name__ == "__main__":
    sys.exit(main())
