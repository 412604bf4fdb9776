"""Settings of all tests."""

import os
import signal

import pytest
from hypothesis import settings

# A shell that starts pytest in the background has it ignored; tests interrupt what they call,
# and themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says something about the machine, not about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


FIRST = (
    *("docs", "matrix", "ci", "extending", "signals", "guest", "bisect", "avocado", "cli"),
    *("order", "settings", "bad_input", "tls", "refusal"),
)
"""Files of functional tests that take longest, so that none of them is left for the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests, which a busy machine only slows down: `make check` runs the rig at that time.
    Then functional tests, long ones first: no worker waits long for the end of another one.
    """
    first = [f"test_{name}.py" for name in FIRST]

    def place(item: pytest.Item) -> int:
        folder, name = item.path.parent.name, item.path.name
        if folder != "functional":
            return -1
        return first.index(name) if name in first else len(first)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``--numprocesses auto``: twice the processors, as half of a functional test is waiting."""
    return 2 * len(os.sched_getaffinity(0))
