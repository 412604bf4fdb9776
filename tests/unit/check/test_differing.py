"""What the sides make of a difference; the rules that use it are tested in their own files."""

import pytest

from harness.check import differing
from harness.check.judge import gather
from tests.unit.check.histories import good, without


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("vfio0: no", True),
        ("VFIO_FD14: no", True),
        ("section '0000:00:02.0/vfio' 0", True),
        ("section '0000:00:03.0/vfio' 0", False),
        ("vfio01: no", False),
        ("VFIO_FD1: no", False),
    ],
)
def test_device_is_named_by_id_by_trace_name_or_by_place(text, is_named):
    assert differing.is_named(gather(good("other device")), "vfio0", text) is is_named


def test_all_names_are_known_only_with_a_trace_and_the_options():
    run = good("other device")
    assert differing.has_name(gather(run), "vfio0")
    assert not differing.has_name(gather(without(run, "vfio_migration_realize")), "vfio0")
    assert not differing.has_name(gather(without(run, "launched")), "vfio0")


def test_each_error_is_reported_with_its_record():
    words = [text for _, text in differing.says(gather(good("other machine")))]
    assert any("Machine type received" in text for text in words)
