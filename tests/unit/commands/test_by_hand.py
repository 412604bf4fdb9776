"""Commands for a migration by hand."""

import pytest

from tests.unit.called import one_line


@pytest.mark.parametrize("argv", [
    ("--listen", "tcp:x", "--to", "tcp:h:1"),
    ("--listen", "unix:@a", "--to", "unix:/path"),
])  # fmt: skip
def test_wrong_address_of_a_relay_is_one_line(call, argv):
    status, _, err = call("relay", *argv)
    assert status == 3
    assert "tcp:HOST:PORT or unix:@NAME" in one_line(err)


def test_monitor_that_is_not_there_is_one_line(call, tmp_path):
    status, _, err = call("qmp", tmp_path / "gone")
    assert status == 3
    assert str(tmp_path / "gone") in one_line(err)
