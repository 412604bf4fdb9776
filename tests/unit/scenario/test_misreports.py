"""Wrong answers to questions for sizes, as a scenario has them."""

import pytest

from harness.scenario import EmulatedDevice, Scenario, from_json, to_json
from harness.scenario.misreports import UINT64_MAX, Misreport, Query

DATA, INFO = Query.DATA_SIZE, Query.PRECOPY_INFO


@pytest.mark.parametrize(
    ("misreport", "calls"),
    [
        (Misreport(query=DATA, errno=5), {1, 2, 3, 4, 5}),
        (Misreport(query=DATA, first=3, errno=5), {3, 4, 5}),
        (Misreport(query=DATA, first=2, calls=2, errno=5), {2, 3}),
        (Misreport(query=INFO, errno=5), set()),
    ],
)
def test_calls_that_it_is_about(misreport, calls):
    assert {number for number in range(1, 6) if misreport.is_about(DATA, number)} == calls


@pytest.mark.parametrize(
    ("misreport", "is_impossible"),
    [
        (Misreport(query=DATA, errno=5), True),
        (Misreport(query=DATA, stop_copy_length=1 << 62), False),
        (Misreport(query=DATA, stop_copy_length=1 << 63), True),
        (Misreport(query=INFO, initial_bytes=1 << 62, dirty_bytes=1 << 61), False),
        (Misreport(query=INFO, initial_bytes=1 << 62, dirty_bytes=1 << 62), True),
    ],
)
def test_what_no_device_can_have(misreport, is_impossible):
    device = EmulatedDevice(id="a", pre_copy=True, misreports=(misreport,))
    assert (misreport.is_impossible, device.fails_sizes) == (is_impossible, is_impossible)


def test_size_of_a_device_that_misreports_it_is_not_known_beforehand():
    plans = (Misreport(query=DATA, first=9, errno=5),)
    assert EmulatedDevice(id="a", size=5, misreports=plans).mig_data_size is None
    plans = (Misreport(query=INFO, errno=5),)
    assert EmulatedDevice(id="a", size=5, misreports=plans, pre_copy=True).mig_data_size == 5


def test_largest_size_survives_json():
    plans = (Misreport(query=DATA, first=2, calls=3, stop_copy_length=UINT64_MAX),)
    scenario = Scenario(name="a", devices=(EmulatedDevice(id="a", misreports=plans),))
    assert from_json(to_json(scenario)) == scenario


@pytest.mark.parametrize(
    ("misreport", "wrong"),
    [
        ({"query": DATA}, "a: misreports of MIG_DATA_SIZE have either errno or a size"),
        ({"query": DATA, "errno": 5, "stop_copy_length": 5}, "have either errno or a size"),
        ({"query": DATA, "stop_copy_length": 5, "dirty_bytes": 5}, "a size of the other query"),
        ({"query": INFO, "errno": 5, "stop_copy_length": 5}, "a size of the other query"),
        ({"query": DATA, "stop_copy_length": UINT64_MAX + 1}, "a size above 18446744073709551615"),
    ],
)
def test_what_makes_no_sense_is_refused(misreport, wrong):
    device = EmulatedDevice(id="a", pre_copy=True, misreports=(Misreport(**misreport),))
    found = [why for holds, why in device.problems(has_guest=False) if not holds]
    assert any(wrong in why for why in found), found


def test_precopy_info_needs_pre_copy():
    device = EmulatedDevice(id="a", misreports=(Misreport(query=INFO, errno=5),))
    found = [why for holds, why in device.problems(has_guest=False) if not holds]
    assert found == ["a: misreports of PRECOPY_INFO need pre_copy"]
