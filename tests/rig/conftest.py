"""Tests of this folder run in the rig, all of them in one boot, unless marked ``outside``.

pytest collects them as ever, then boots a rig, in which a second pytest runs all that were
selected, while those marked ``outside`` run here.  That one's reports come back one a line, and
are passed on as if the tests had run here, with one difference: what is skipped in the rig, which
has all that they need, has failed.
"""

import pytest

from harness.rig import image, rig
from tests.rig.one_boot import REPORTS_FD, OneBoot, send_reports

BOOT = pytest.StashKey[OneBoot]()
OUTSIDE_S = 660
"""For a test that boots a rig of its own.  Without KVM, and with other work on the machine, a boot
takes minutes: a limit that is reached costs a failed test, one that is too long only time."""


def pytest_configure(config):
    config.addinivalue_line("markers", "outside: runs on this machine, and not in a rig")
    if rig.is_inside():
        config.pluginmanager.register(send_reports(config, REPORTS_FD))


def pytest_collection_modifyitems(config, items):
    if rig.is_inside() or config.option.collectonly:
        return
    folder = config.rootpath / "tests" / "rig"
    for item in items:
        if item.get_closest_marker("outside") and item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.timeout(OUTSIDE_S))
    inside = [
        item.nodeid
        for item in items
        if item.path.is_relative_to(folder) and item.get_closest_marker("outside") is None
    ]
    if inside:
        image.find()  # or the one line that tells how it is built
        config.stash[BOOT] = OneBoot(config, inside)
        wanted = set(inside)
        items.sort(key=lambda item: item.nodeid in wanted)


def pytest_collection_finish(session):
    boot = session.config.stash.get(BOOT, None)
    if boot is not None:
        boot.start()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    boot = item.config.stash.get(BOOT, None)
    if boot is None or item.nodeid not in boot.nodeids:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in boot.reports_of(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_unconfigure(config):
    boot = config.stash.get(BOOT, None)
    if boot is not None:
        boot.close()
