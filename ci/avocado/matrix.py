"""Runs a matrix of builds and devices as one avocado job; each cell is a suite.

    python -m ci.avocado.matrix [FILE.toml] [--results DIR] [--parallel N] [--shard I/N] [--list]

The scenarios of a cell run in parallel.  A cell that cannot run here, or that is lost, is reported
in one line; the other cells run.  DIR gets matrix.json, matrix.html and matrix.xml (requirement x
build, JUnit) besides avocado's own results.

Exit status: 3 if a cell was lost, else 1 if a requirement is violated, else 2 if one is unknown or
nothing was judged, else 0.  On several machines, give each a part (``--shard 1/2``, ``2/2``).
"""

import argparse
import multiprocessing
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from avocado.core.job import Job
from avocado.core.nrunner.runnable import Runnable
from avocado.core.settings import settings
from avocado.core.suite import TestSuite
from rich.console import Console
from rich.table import Table

from ci.avocado import cells
from ci.avocado.cells import Cell, Matrix
from harness import scenario
from harness.avocado_plugin.scenario_runner import KIND
from harness.errors import LOST, USAGE, HarnessError
from harness.history.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
WORST_FIRST = ("usage", "lost", "violated", "unknown", "valid", "skipped")
_VIOLATED, _UNKNOWN = 1, 2
_TEARDOWN_S = 40


class Ended(msgspec.Struct, frozen=True):
    """One scenario of a cell."""

    scenario: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    path: str = ""
    """The folder with its report and its run directory."""


class Line(msgspec.Struct, frozen=True):
    """One cell."""

    name: str
    cell: Cell
    status: str
    ended: tuple[Ended, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix and return the exit status."""
    options = _parser().parse_args(argv)
    try:
        matrix = cells.load(options.file)
        wanted = cells.shard(cells.cells(matrix), options.shard)
        if options.list:
            print("\n".join(cell.name for cell in wanted))
            return 0
        folder = RunDir.create(options.results, "matrix").path
    except HarnessError as error:
        print(f"matrix: error: {error}", file=sys.stderr)
        return error.exit_status
    tests = {cell: list(_tests(matrix, cell, folder)) for cell in wanted}
    results = _run(tests, folder, options.parallel, matrix.limit_s)
    lines = [_line(cell, tests[cell], results) for cell in wanted]
    status = exit_status(lines)
    header = {"seed": matrix.seed, "select": matrix.select, "shard": options.shard}
    document = msgspec.json.encode({**header, "exit_status": status, "cells": lines})
    (folder / "matrix.json").write_bytes(msgspec.json.format(document, indent=2) + b"\n")
    _report(folder)
    _print(lines, folder)
    return status


def exit_status(lines: Sequence[Line]) -> int:
    """The exit status of the commands: lost is worse than violated, its results are unknown."""
    seen = {line.status for line in lines}
    if "usage" in seen:
        return USAGE
    if "lost" in seen:
        return LOST
    if "violated" in seen:
        return _VIOLATED
    return 0 if "valid" in seen and "unknown" not in seen else _UNKNOWN


def _tests(matrix: Matrix, cell: Cell, folder: Path) -> list[Runnable]:
    """A runnable for each scenario, or one that is skipped with the reason."""
    try:
        found = cells.scenarios(matrix, cell)
    except HarnessError as error:
        return [Runnable(KIND, cell.name, identifier="all", skip=str(error))]
    runnables = []
    for each in found:
        path = folder / "scenarios" / cell.name / f"{each.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(scenario.to_json(each))
        runnables.append(Runnable(KIND, str(path), identifier=each.name))
    return runnables


def _run(
    tests: Mapping[Cell, list[Runnable]], folder: Path, parallel: int, limit_s: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """Results by names of suite and test."""
    for name in ("base", "test", "data", "logs"):  # by default in the home folder
        settings.update_option(f"datadir.paths.{name}_dir", str(folder / "avocado"))
    count = sum(map(len, tests.values()))
    config = {
        "run.results_dir": str(folder / "avocado"),
        "run.max_parallel_tasks": parallel,
        "task.timeout.running": limit_s,
        "runner.task.interval.from_soft_to_hard_termination": _TEARDOWN_S,
        # avocado waits without a limit for a runner that was killed.
        "job.run.timeout": (limit_s + _TEARDOWN_S) * count,
        "sysinfo.collect.enabled": False,
        "core.show": ["app"],
    }
    suites = [
        TestSuite(cell.name, config=config, tests=found, job_config=config)
        for cell, found in tests.items()
    ]
    with Job(config, suites) as job:
        job.run()
        results = {}
        for test in job.result.tests:
            suite = test["name"].str_uid.rpartition("-")[0]
            results[suite, test["name"].name] = test
        return results


def _line(cell: Cell, tests: Sequence[Runnable], results: Mapping[Any, dict[str, Any]]) -> Line:
    ended = tuple(_ended(test, results.get((cell.name, test.identifier))) for test in tests)
    statuses = {each.status for each in ended}
    worst = next(status for status in WORST_FIRST if status in statuses)
    return Line(cell.name, cell, worst, ended)


def _ended(test: Runnable, result: dict[str, Any] | None) -> Ended:
    if result is None:
        return Ended(test.identifier, "lost", "lost: avocado has no result")
    status = result.get("fail_class") or {"SKIP": "skipped"}.get(result["status"], "lost")
    return Ended(
        test.identifier,
        status if status in WORST_FIRST else "lost",
        result.get("fail_reason") or "",
        round(result["time_elapsed"], 1),
        result["logdir"],
    )


def _report(folder: Path) -> None:
    """Requirement x build, from all run directories.  The exit status does not depend on it."""
    reports = [f"--report={folder / name}" for name in ("matrix.html", "matrix.xml")]
    argv = [sys.executable, "-m", "harness.cli", "recheck", str(folder / "avocado"), *reports]
    with (folder / "recheck.txt").open("wb") as out:
        subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, check=False)


def _print(lines: Sequence[Line], folder: Path) -> None:
    table = Table(title="Cells", title_justify="left", box=None)
    for column in ("cell", "status", "reason"):
        table.add_column(column, overflow="fold")
    for line in lines:
        why = [
            f"{e.scenario}: {e.reason.removeprefix(f'{e.status}: ')}"
            for e in line.ended
            if e.status == line.status
        ]
        reason = "" if line.status == "valid" else "; ".join(why)
        table.add_row(line.name, line.status, reason[:300])
    console = Console(highlight=False, markup=False)
    console.print(table)
    numbers = {s: sum(line.status == s for line in lines) for s in WORST_FIRST}
    counts = [f"{number} {s}" for s, number in numbers.items() if number or s != "usage"]
    console.print(f"{len(lines)} cells: {', '.join(counts)}; reports in {folder}/", soft_wrap=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"matrix: error: {message}", file=sys.stderr)
        sys.exit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="matrix", description=(__doc__ or "").partition("\n")[0])
    default = Path(__file__).with_name("matrix.toml")
    parser.add_argument("file", nargs="?", type=Path, default=default, metavar="FILE.toml")
    parser.add_argument("--results", type=Path, default=ROOT / "runs", metavar="DIR")
    parser.add_argument("--parallel", type=int, default=multiprocessing.cpu_count(), metavar="N")
    parser.add_argument("--shard", default="1/1", metavar="I/N")
    parser.add_argument("--list", action="store_true", help="list the names of the cells only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
