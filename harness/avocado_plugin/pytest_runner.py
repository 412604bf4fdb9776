"""Runs one test of pytest (``avocado-runner-pytest``).

==================  ===========  ====================================================
pytest              avocado      reason
==================  ===========  ====================================================
passed              PASS
xfailed             PASS         that of the xfail
xpassed, strict     FAIL         [XPASS(strict)] and the reason of the xfail
xpassed             WARN         that of the xfail
failed              FAIL         the error
skipped             SKIP         that of the skip
error               ERROR        set-up or teardown, and its error
not collected       ERROR        the error of the import, or what pytest said
pytest dies         ERROR        by what
time limit, Ctrl-C  INTERRUPTED  fixtures are torn down first
==================  ===========  ====================================================

The whiteboard has what the test recorded (``user_properties``) and the seconds of its phases,
as JSON; run directories of failed tests are in ``runs/`` of the test's output directory.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from avocado.core.nrunner.app import BaseRunnerApp
from avocado.core.nrunner.runnable import Runnable
from avocado.core.nrunner.runner import BaseRunner
from avocado.core.utils import messages

from harness.avocado_plugin import parameters
from harness.avocado_plugin.child import Child
from harness.vm.memory_file import memory_file

KIND = "pytest"
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "harness.pytest_plugin")
"""The plugin has ``--outcomes``; the project's own settings may load it, too."""
GRACE_S = 30.0
"""For teardown after SIGTERM: ending two QEMUs that hang takes some seconds each."""
_RESULTS = {
    "passed": "pass",
    "xfailed": "pass",
    "xpassed": "warn",
    "failed": "fail",
    "skipped": "skip",
    "error": "error",
}
_VALUED = ("qemu", "qemu_dst", "trace_events", "channels", "runs", "timeout")
_FLAGS = ("keep_runs",)
_LAST_LINES = 5


class PytestRunner(BaseRunner):  # type: ignore[misc] # avocado has no types
    """A runnable's ``uri`` is a node id below its ``rootdir``."""

    name = KIND
    description = "Runner for tests of pytest"

    def run(self, runnable: Runnable) -> Iterator[dict[str, Any]]:
        """Messages of the test's life; the last one has its result."""
        yield messages.StartedMessage.get()
        with memory_file("told") as (told, _):
            try:
                argv = command(runnable, told)
            except parameters.BadParameter as error:
                yield messages.FinishedMessage.get("error", str(error))
                return
            child = Child(argv, cwd=Path(runnable.kwargs["rootdir"]), grace_s=GRACE_S)
            tail = b""
            for chunk in child.output():
                tail = (tail + chunk)[-4096:]
                if chunk:
                    yield messages.StdoutMessage.get(chunk)
                else:
                    yield messages.RunningMessage.get()
            lines = told.read_bytes().splitlines()
        if child.left_behind:
            yield messages.StderrMessage.get("the test left processes behind; they are killed\n")
        yield from result([msgspec.json.decode(line) for line in lines], child, tail)


def command(runnable: Runnable, told: Path) -> list[str]:
    """The command line of pytest.

    :raise BadParameter: a parameter that is no option of the tests
    """
    given = parameters.of(runnable.variant)
    if runnable.output_dir and "runs" not in given:
        given["runs"] = str(Path(runnable.output_dir).absolute() / "runs")
    options = parameters.options(given, valued=_VALUED, flags=_FLAGS)
    fixed = ("--color=no", f"--outcomes={told}")
    return [*PYTEST, *fixed, *options, runnable.uri]


def result(told: list[dict[str, Any]], child: Child, tail: bytes) -> Iterator[dict[str, Any]]:
    """The last messages.

    :param told: lines of ``--outcomes``
    :param tail: the last that pytest said
    """
    ended = next((line for line in told if line["kind"] == "ended"), None)
    if child.terminated:
        how = "killed, its teardown did not end" if child.killed else "torn down"
        yield messages.FinishedMessage.get("interrupted", f"ended by SIGTERM: {how}")
        return
    if ended is None:
        ended = next((line for line in told if line["kind"] == "not collected"), None)
    if ended is None:
        said = tail.decode(errors="backslashreplace").strip().splitlines()[-_LAST_LINES:]
        reason = f"pytest {child.how()} before the test did: {' | '.join(said)}"
        yield messages.FinishedMessage.get("error", reason, returncode=child.returncode)
        return
    whiteboard = {key: ended[key] for key in ("outcome", "properties", "seconds") if key in ended}
    yield messages.WhiteboardMessage.get(json.dumps(whiteboard, indent=1) + "\n")
    yield messages.FinishedMessage.get(
        _RESULTS[ended["outcome"]],
        ended["reason"] or None,
        returncode=child.returncode,
        traceback=ended["details"] or None,
    )


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]
    """What avocado starts for each test."""

    PROG_NAME = f"avocado-runner-{KIND}"
    PROG_DESCRIPTION = PytestRunner.description
    RUNNABLE_KINDS_CAPABLE = [KIND]  # noqa: RUF012 - avocado's interface


def main() -> None:
    """The command ``avocado-runner-pytest``."""
    RunnerApp(print).run()


if __name__ == "__main__":
    main()
