"""One boot of a rig in which a pytest runs; what it reports, here."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from harness.history.rundir import RunDir

RIG_S, TEST_S, END_S = 1800, 480, 20
SILENT_S = TEST_S + 30
"""Without a report for so long, the rig does not even end a test that takes too long: it hangs."""
REPORTS_FD = 3
"""Descriptor that the reports are written to; standard output is the tests' own."""
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "harness.pytest_plugin")
"""All that the tests use: each start of a Python module takes long in a rig."""
OPTIONS = ("--qemu", "--qemu-dst", "--trace-events")


def send_reports(config: pytest.Config, fd: int) -> object:
    """A plugin of the pytest inside that writes each report to ``fd``, as a line of JSON."""

    class Sender:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            data = config.hook.pytest_report_to_serializable(config=config, report=report)
            os.write(fd, json.dumps(data).encode() + b"\n")

    return Sender()


class OneBoot:
    """Runs the tests ``nodeids`` in a rig."""

    def __init__(self, config: pytest.Config, nodeids: list[str]) -> None:
        self.nodeids = nodeids
        self._config = config
        self._rig: subprocess.Popen[bytes] | None = None
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._folder = Path()
        self._is_well = True
        self._why = "the rig ended without a report of this test"
        self._left = set(nodeids)

    def start(self) -> None:
        """Boot the rig; its tests run from now on."""
        self._rig = self._boot()
        self._reader.start()

    def _read(self) -> None:
        """So that no test in the rig waits until its report is asked for; at the end ``b""``."""
        assert self._rig is not None
        assert self._rig.stdout is not None
        for line in self._rig.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def reports_of(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """The reports of ``item``, as they come; a failed one where the rig has none."""
        while line := self._next_line():
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            assert report.nodeid == item.nodeid, "another test ran"
            if report.skipped and not hasattr(report, "wasxfail"):
                report.outcome, report.longrepr = "failed", f"skipped in the rig: {report.longrepr}"
            self._is_well &= not report.failed
            yield report
            if report.when == "teardown":
                self._left.discard(item.nodeid)
                return
        self._lines.put(b"")  # the other tests have none, either
        self._is_well = False
        yield pytest.TestReport(
            item.nodeid, item.location, {}, "failed", self._last_words(), "setup"
        )

    def _next_line(self) -> bytes:
        """``b""`` if the rig has ended, or hangs and was ended here."""
        try:
            return self._lines.get(timeout=SILENT_S)
        except Empty:
            self._why = f"the rig reported nothing for {SILENT_S} s, and was ended"
            self._end()
            return b""

    def _boot(self) -> subprocess.Popen[bytes]:
        option = self._config.getoption
        self._folder = RunDir.create(option("--runs"), "rig-tests").path.absolute()
        given = [word for name in OPTIONS if option(name) for word in (name, str(option(name)))]
        tests = [
            *(sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "--import-mode=importlib"),
            *("--strict-markers", "-o", "cache_dir=/run/rig/tmp/cache", "--confcutdir=tests/rig"),
            *(f"--timeout={TEST_S}", f"--runs={self._folder}", *given),
            *(word for name in PLUGINS for word in ("-p", name)),
            *self.nodeids,
        ]
        script = (
            f"export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1; exec {REPORTS_FD}>&1 >&2; "
            f"exec {shlex.join(tests)}"
        )
        in_rig = [
            *("setpriv", "--pdeathsig", "TERM", "--"),  # it ends with us, also if we are killed
            *(sys.executable, "-m", "harness.cli", "rig", "run"),
            *("--runs", str(self._folder), "--timeout", str(RIG_S), "--", "sh", "-c", script),
        ]
        with (self._folder / "pytest.log").open("wb") as log:
            return subprocess.Popen(
                in_rig,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._config.rootpath,
            )

    def _last_words(self) -> str:
        assert self._rig is not None
        log = self._folder / "pytest.log"
        words = [f"{self._why}:"]
        for path in (log, *sorted(self._folder.glob("rig-*/console*"))):
            lines = path.read_text(errors="backslashreplace").splitlines()[-30:]
            words += [f"{path}:", *lines]
        return "\n".join(words)

    def close(self) -> None:
        """End the rig, if it runs; what it wrote stays where a test has failed."""
        if self._rig is None:
            return
        self._end()
        assert self._rig.stdout is not None
        self._reader.join()
        self._rig.stdout.close()
        if self._is_well and not self._left and not self._config.getoption("--keep-runs"):
            shutil.rmtree(self._folder)

    def _end(self) -> None:
        assert self._rig is not None
        if self._rig.poll() is None and (self._left or not self._is_well):
            self._rig.send_signal(signal.SIGINT)
        try:
            self._rig.wait(END_S)
        except subprocess.TimeoutExpired:
            self._rig.kill()
            self._rig.wait()
