"""The machine's own places, unless others are given."""

from pathlib import Path

from harness.devices.sysfs import Sysfs


def test_machine_is_looked_at_where_nothing_else_is_given(tmp_path):
    assert (Sysfs().sysfs, Sysfs().dev) == (Path("/sys"), Path("/dev"))
    given = Sysfs(tmp_path / "sys", tmp_path / "dev")
    assert (given.sysfs, given.dev) == (tmp_path / "sys", tmp_path / "dev")
