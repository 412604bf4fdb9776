"""Turns files, folders and node ids of pytest into runnables, one per test.

pytest collects once for all references of a job.  A file that it cannot import becomes a
runnable, too, which errors when it is run: dropped, the job would end green without it.
"""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from avocado.core.extension_manager import PluginPriority
from avocado.core.nrunner.runnable import Runnable
from avocado.core.plugin_interfaces import Resolver
from avocado.core.resolver import ReferenceResolution, ReferenceResolutionResult

from harness.avocado_plugin.pytest_runner import KIND, PYTEST
from harness.vm.memory_file import memory_file

_COLLECT_TIMEOUT_S = 600


@dataclass
class _Collected:
    """What pytest found: absolute path of a file -> its tests, each as a line of --outcomes."""

    rootdir: Path
    failure: str = ""
    tests: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)


class PytestResolver(Resolver):  # type: ignore[misc] # avocado has no types
    """Before the resolvers of avocado, which would take a test file for something else."""

    name = KIND
    description = "Test resolver for files of pytest"
    priority = PluginPriority.VERY_HIGH

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._collected: dict[tuple[str, ...], _Collected] = {}

    def resolve(self, reference: str) -> ReferenceResolution:
        """Runnables of the tests in the file ``reference``, or of a node id."""
        path = _path(reference).absolute()
        if path.suffix != ".py" or not path.is_file() or path.name == "conftest.py":
            return _not_found(reference, "no file of pytest")
        asked = (reference,) if "::" in reference else self._asked(path)
        if asked not in self._collected:
            self._collected[asked] = _collect(asked)
        found = self._collected[asked]
        tests = found.tests.get(path, [])
        if not tests and found.failure and _is_test_file(path):
            tests = [{"nodeid": reference}]  # which says what is wrong, when it is run
        if not tests:
            return _not_found(reference, "pytest collects nothing from it")
        return ReferenceResolution(
            reference,
            ReferenceResolutionResult.SUCCESS,
            [_runnable(test, found.rootdir) for test in tests],
        )

    def _asked(self, path: Path) -> tuple[str, ...]:
        """The references that pytest is asked about at once, that for ``path`` among them."""
        references = [str(each) for each in (self.config or {}).get("resolver.references", ())]
        shared = [each for each in references if "::" not in each and Path(each).exists()]
        is_among = any(path.is_relative_to(Path(each).absolute()) for each in shared)
        return tuple(shared) if is_among else (str(path),)


def _path(reference: str) -> Path:
    return Path(reference.partition("::")[0])


def _is_test_file(path: Path) -> bool:
    """By pytest's own rule, where pytest could not be asked."""
    return path.name.startswith("test_") or path.name.endswith("_test.py")


def _not_found(reference: str, why: str) -> ReferenceResolution:
    return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND, info=why)


def _collect(references: tuple[str, ...]) -> _Collected:
    with memory_file("told") as (told, _):
        done = subprocess.run(
            [*PYTEST, "--collect-only", "--quiet", f"--outcomes={told}", *references],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COLLECT_TIMEOUT_S,
            check=False,
        )
        lines = told.read_bytes().splitlines()
    parsed = [msgspec.json.decode(line) for line in lines]
    started = next((line for line in parsed if line["kind"] == "started"), None)
    found = _Collected(Path(started["rootdir"]) if started else Path.cwd())
    # 0 all is well, 5 no tests: anything else must not pass for "there is none here".
    if done.returncode not in {0, 5}:
        found.failure = done.stdout.decode(errors="backslashreplace")
    for line in parsed:
        if line["kind"] in {"collected", "not collected"}:
            path = (found.rootdir / _path(line["nodeid"])).absolute()
            found.tests.setdefault(path, []).append(line)
    return found


def _runnable(test: dict[str, Any], rootdir: Path) -> Runnable:
    """Marks are tags; ids of requirements are values of the tag ``requirement``."""
    tags: dict[str, set[str] | None] = dict.fromkeys(test.get("marks", ()))
    if test.get("requirements"):
        tags["requirement"] = set(test["requirements"])
    return Runnable(KIND, test["nodeid"], tags=tags, rootdir=str(rootdir))
