"""Sizes with units; the command line behind --."""

import pytest

from harness import job
from harness.errors import VMError
from tests.unit.called import one_line


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("16MiB", 16 << 20), ("1g", 1 << 30),
     ("2 K", 2048), ("3B", 3)],
)  # fmt: skip
def test_size_is_bytes_with_a_unit(call, monkeypatch, text, size):
    seen = {}

    def remember(_paths, settings, _trace_events):
        seen["size"] = settings.size
        raise VMError("enough")

    monkeypatch.setattr(job, "scenarios", remember)
    assert call("run", "--size", text)[0] == 3
    assert seen["size"] == size


def test_serve_needs_a_program(call, tmp_path):
    status, _, err = call("serve", "--scenario", tmp_path, "--side", "source", "--")
    assert status == 3
    assert "@devices@" in one_line(err)
