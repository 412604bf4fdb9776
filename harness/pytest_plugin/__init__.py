"""Pytest plugin: options, markers and fixtures of the functional tests.

It is loaded by name, with ``-p harness.pytest_plugin`` in the project's ``addopts``: it is not an
entry point, because that would add its options to every pytest of the environment.

Options: ``--qemu --qemu-dst --trace-events --channels --keep-runs --runs``, and
``--expect --expect-update`` (``counting``), ``--outcomes`` (``outcomes``).
Markers: ``requirement(*ids)`` names what a test is about; ``scenario(**fields)`` sets
fields of the scenario that the pair fixtures use.

Fixtures, by the state that the pair of QEMUs is in: ``pair_built`` (nothing started),
``pair_booted`` (both up and configured), ``pair_migrated`` (the migration has ended, both
still up).  ``judged`` runs a scenario and judges it, ``judged_in_turn`` one with several
migrations; ``kept`` asserts requirements of a verdict, known deviations included.
``results_dir`` holds a test's run directories: kept when it fails, or with ``--keep-runs``.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from harness.pytest_plugin.counting import Counting
from harness.pytest_plugin.fixtures import (
    FAILED,
    judged,
    judged_in_turn,
    kept,
    pair_booted,
    pair_built,
    pair_migrated,
    qemu_dst,
    qemu_facts,
    qemu_src,
    results_dir,
    scenario,
)
from harness.pytest_plugin.outcomes import Outcomes, take_sigterm_as_interrupt
from harness.pytest_plugin.xfails import ExpectedFailures

__all__ = [
    "judged",
    "judged_in_turn",
    "kept",
    "pair_booted",
    "pair_built",
    "pair_migrated",
    "qemu_dst",
    "qemu_facts",
    "qemu_src",
    "results_dir",
    "scenario",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the functional tests."""
    group = parser.getgroup("vfio-multifd", "QEMU VFIO multifd migration")
    group.addoption("--qemu", default="", help="source QEMU (default: as `vfio-multifd run`)")
    group.addoption("--qemu-dst", default="", help="destination QEMU (default: as the source)")
    group.addoption("--trace-events", default="", help="trace-events-all of the builds")
    group.addoption("--channels", type=int, default=4, help="multifd channels where a test does "
                    "not say (default: 4)")  # fmt: skip
    group.addoption("--keep-runs", action="store_true", help="keep run directories of passed tests")
    group.addoption("--runs", type=Path, default=Path("runs"), help="folder of run directories")
    group.addoption("--expect", type=Path, metavar="PATH", help="fail where counts of tests are "
                    "not those of this file, or of the folder's file for this machine")  # fmt: skip
    group.addoption("--expect-update", action="store_true", help="write that file instead")
    group.addoption("--outcomes", type=Path, metavar="FILE", help="write to FILE what "
                    "is collected and how each test ends, for a program that started "
                    "this one")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Markers of the functional tests; the counting and the telling of all."""
    config.addinivalue_line("markers", "requirement(*ids): requirements that the test is about")
    config.addinivalue_line("markers", "scenario(**fields): fields of the pair fixtures' scenario")
    if hasattr(config, "workerinput"):  # once, not in each process of xdist
        return
    config.pluginmanager.register(ExpectedFailures(), "vfio-multifd-xfails")
    if config.getoption("--expect") or config.getoption("--expect-update"):
        config.pluginmanager.register(Counting(config), "vfio-multifd-counting")
    if path := config.getoption("--outcomes"):
        config.pluginmanager.register(Outcomes(path), "vfio-multifd-outcomes")
        take_sigterm_as_interrupt()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put the requirement into JUnit's properties."""
    for marker in item.iter_markers("requirement"):
        for requirement in marker.args:
            item.user_properties.append(("requirement", requirement))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test failed, for ``results_dir``."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report
