"""A session: its phases, and how it is left."""

import threading

import pytest

from harness.session.session import Limit
from harness.vfio.state_bytes import Stopped


def test_work_within_the_limit_goes_on():
    Limit(threading.Event(), 60.0)()


def test_work_beyond_the_limit_is_stopped_with_the_limit_named():
    with pytest.raises(Stopped, match=r"longer than -1 s"):
        Limit(threading.Event(), -1.0)()


def test_work_of_a_session_that_has_ended_is_stopped():
    ended = threading.Event()
    limit = Limit(ended, 60.0)
    limit()
    ended.set()
    with pytest.raises(Stopped, match="interrupted"):
        limit()
