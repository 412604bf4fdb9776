"""Changes of what a device has for pre-copy: which a scenario can have."""

import pytest

from harness.scenario import EmulatedDevice, LoadBehaviour, SaveBehaviour
from harness.scenario.misreports import Misreport, Query
from harness.scenario.precopy import PrecopyChange

GROWS = PrecopyChange(at=5, dirty_bytes=9)


def problems(*changes, **fields) -> list[str]:
    spec = EmulatedDevice(**{"id": "a", "pre_copy": True, "precopy_changes": changes, **fields})
    return [words for is_right, words in spec.problems(has_guest=False) if not is_right]


@pytest.mark.parametrize(
    "change",
    [
        GROWS,
        PrecopyChange(at=0, every=1, dirty_bytes=-9),
        PrecopyChange(after_s=0.5, initial_bytes=0),
        PrecopyChange(at_switchover=True, initial_bytes=7),
        PrecopyChange(at_check=True, initial_bytes=7),
    ],
)
def test_change_with_one_moment_and_one_effect_is_right(change):
    assert not problems(change)


@pytest.mark.parametrize(
    ("change", "fields", "words"),
    [
        (GROWS, {"pre_copy": False}, "needs pre_copy"),
        (PrecopyChange(dirty_bytes=9), {}, "give one of at, after_s, at_switchover and at_check"),
        (PrecopyChange(at=1, at_check=True, dirty_bytes=9), {}, "give one of at, after_s"),
        (PrecopyChange(at_check=True, every=3, dirty_bytes=9), {}, "every needs at"),
        (PrecopyChange(at=1), {}, "give one of dirty_bytes and initial_bytes"),
        (PrecopyChange(at=1, dirty_bytes=1, initial_bytes=1), {}, "give one of dirty_bytes and"),
        (PrecopyChange(at_switchover=True, dirty_bytes=1), {"p2p": False}, "needs p2p"),
        (GROWS, {"save": SaveBehaviour(error_at=9)}, "go with no lie, misreports or error_at"),
        (GROWS, {"load": LoadBehaviour(error_at=9)}, "go with no lie, misreports or error_at"),
        (
            GROWS,
            {"misreports": (Misreport(query=Query.PRECOPY_INFO, errno=5),)},
            "go with no lie, misreports or error_at",
        ),
    ],
)
def test_change_without_moment_or_effect_is_refused(change, fields, words):
    (found,) = problems(change, **fields)
    assert found.startswith("a: precopy_changes")
    assert words in found


def test_precopy_info_v2_needs_pre_copy():
    assert problems(pre_copy=False, precopy_info_v2=0) == ["a: precopy_info_v2 needs pre_copy"]
