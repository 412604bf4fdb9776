"""What ``measure`` refuses, in one line."""

import pytest

from tests.unit.called import one_line


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--rounds", "5"], "--rounds 5: at least 20"),
        (["chanels=4"], "chanels=4: a series is KEY=VALUE"),
        (["--scenario", "/nowhere.json"], "/nowhere.json: cannot read"),
    ],
)
def test_bad_input_is_one_line_and_4(call, tmp_path, argv, why):
    status, out, err = call("measure", *argv, "--runs", tmp_path)
    assert (status, out) == (4, "")
    assert why in one_line(err)
    assert not list(tmp_path.iterdir())
