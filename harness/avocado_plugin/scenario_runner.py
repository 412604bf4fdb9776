"""Runs a scenario and judges it (``avocado-runner-vfio-multifd``).

==================  ===========  ====================================================
verdict             avocado      reason begins with
==================  ===========  ====================================================
valid               PASS         (known deviation, where one interrupted it)
violated            FAIL         violated: the requirements and what was seen
unknown             ERROR        unknown: the requirements that could not be judged
lost                ERROR        lost: the harness or a machine failed, not QEMU
usage               ERROR        usage: the scenario or a parameter cannot be used
cannot run here     SKIP         skipped: the build, device or tool that is missing
time limit, Ctrl-C  INTERRUPTED  interrupted: QEMUs are ended first
==================  ===========  ====================================================

avocado has one word, ERROR, for unknown and lost; neither may look green, as WARN does in
its xunit.  The whiteboard has status and numbers of each requirement as JSON; the run
directory is in ``runs/`` of the test's output directory, the report next to it.
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

KIND = "vfio-multifd"
GRACE_S = 30.0
_RESULTS = {
    "valid": "pass",
    "violated": "fail",
    "unknown": "error",
    "lost": "error",
    "usage": "error",
    "skipped": "skip",
    "interrupted": "interrupted",
}
_VALUED = ("qemu", "qemu_dst", "trace_events", "channels", "devices", "size", "seed")
_LAST_LINES = 5


class ScenarioRunner(BaseRunner):  # type: ignore[misc] # avocado has no types
    """A runnable's ``uri`` is a scenario's file; empty: the main job.

    With ``skip`` among its keywords it is not run, and that is the reason.
    """

    name = KIND
    description = "Runner for scenarios of vfio-multifd"

    def run(self, runnable: Runnable) -> Iterator[dict[str, Any]]:
        """Messages of the test's life; the last one has its result."""
        yield messages.StartedMessage.get()
        if why := runnable.kwargs.get("skip"):
            yield messages.FinishedMessage.get("skip", f"skipped: {why}")
            return
        with memory_file("report") as (report, _):
            try:
                argv = command(runnable)
            except parameters.BadParameter as error:
                yield messages.FinishedMessage.get("error", f"lost: {error}")
                return
            child = Child(argv, cwd=Path.cwd(), grace_s=GRACE_S, stdout=report)
            tail = b""
            for chunk in child.output():
                tail = (tail + chunk)[-4096:]
                yield messages.StderrMessage.get(chunk) if chunk else messages.RunningMessage.get()
            told = report.read_bytes()
        if child.left_behind:
            yield messages.StderrMessage.get("the run left processes behind; they are killed\n")
        yield from result(told, child, tail)


def command(runnable: Runnable) -> list[str]:
    """The command line of the run.

    :raise BadParameter: a parameter that is no option of ``run``
    """
    options = list(parameters.options(parameters.of(runnable.variant), valued=_VALUED))
    if runnable.output_dir:
        output = Path(runnable.output_dir).absolute()
        options += ["--runs", str(output / "runs")]
        options += ["--report", str(output / "report.json")]
    scenarios = [runnable.uri] if runnable.uri else []
    return [sys.executable, "-m", "harness.cli", "run", "--json", *options, "--", *scenarios]


def result(told: bytes, child: Child, tail: bytes) -> Iterator[dict[str, Any]]:
    """The last messages.

    :param told: what ``--json`` printed
    :param tail: the last that stood on standard error
    """
    if child.terminated:
        how = "killed, it did not end" if child.killed else "ended"
        reason = f"interrupted: ended by SIGTERM: {how}"
        yield messages.FinishedMessage.get("interrupted", reason)
        return
    try:
        report = msgspec.json.decode(told)
    except msgspec.DecodeError:
        said = tail.decode(errors="backslashreplace").strip().splitlines()[-_LAST_LINES:]
        reason = f"lost: the run {child.how()} without a report: {' | '.join(said)}"
        yield messages.FinishedMessage.get("error", reason, returncode=child.returncode)
        return
    status, reason = judge(report)
    yield messages.WhiteboardMessage.get(json.dumps(whiteboard(report, status), indent=1) + "\n")
    yield messages.FinishedMessage.get(
        _RESULTS[status], reason or None, fail_class=status, returncode=child.returncode
    )


def judge(report: dict[str, Any]) -> tuple[str, str]:
    """Status and reason of a JSON report (``report.json_report``)."""
    overall = report["overall"]
    if overall in ("lost", "usage"):
        errors = [run["error"] for run in report["runs"] if run["error"]] or [report["error"]]
        status = "skipped" if is_missing(report) else overall
        return status, f"{status}: {'; '.join(dict.fromkeys(errors))}"
    told = [
        f"{finding['requirement']}: {finding['sentence']}"
        for run in report["runs"]
        if run["verdict"]
        for finding in run["verdict"]["findings"]
        if finding["outcome"] == overall and overall != "valid"
    ]
    known = [run["known"]["cause"] for run in report["runs"] if run["known"]]
    if overall == "valid" and not known:
        return "valid", ""
    word = "known deviation" if known and not told else overall
    return overall, f"{word}: {_list(told or known)}"


def is_missing(report: dict[str, Any]) -> bool:
    """Whether all that was lost is what this machine or build does not have."""
    if not report["runs"]:
        return bool(report.get("missing"))
    return all(run["missing"] for run in report["runs"])


def whiteboard(report: dict[str, Any], status: str) -> dict[str, Any]:
    """What is worth comparing between jobs."""
    return {
        "status": status,
        "runs": [
            {
                "name": run["name"],
                "path": run["path"],
                "outcome": run["outcome"],
                "seconds": run["seconds"],
                "requirements": {
                    finding["requirement"]: {
                        "outcome": finding["outcome"],
                        **finding.get("numbers", {}),
                    }
                    for finding in (run["verdict"] or {"findings": ()})["findings"]
                },
            }
            for run in report["runs"]
        ],
    }


def _list(parts: list[str]) -> str:
    text = " ".join("; ".join(parts).split())
    return text if len(text) <= 1000 else f"{text[:1000]}..."


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]
    """What avocado starts for each scenario."""

    PROG_NAME = f"avocado-runner-{KIND}"
    PROG_DESCRIPTION = ScenarioRunner.description
    RUNNABLE_KINDS_CAPABLE = [KIND]  # noqa: RUF012 - avocado's interface


def main() -> None:
    """The command ``avocado-runner-vfio-multifd``."""
    RunnerApp(print).run()


if __name__ == "__main__":
    main()
