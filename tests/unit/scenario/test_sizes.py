"""Sizes as people write them."""

import pytest

from harness.scenario.sizes import size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("1GiB", 1 << 30), ("2 kb", 2048)],
)
def test_size_is_bytes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "16X", "1" * 5000])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size like"):
        size_of(text)
