"""SET-4: all channels take part, all devices arrive."""

import pytest

from harness.check.evidence import CONFIG_END
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto
from tests.twins.damage import change, one
from tests.unit.check.histories import (
    changed,
    completed,
    device,
    find,
    good,
    only,
    refused,
    scenario,
    without,
)

STARTED = "multifd_recv_thread_start"


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_any_number_of_channels_and_devices(channels, count):
    devices = [device(f"vfio{n}", seed=n) for n in range(count)]
    run = completed(scenario(*devices, channels=channels))
    finding = find(run, "SET-4")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"channels": channels, "devices": count}
    assert judge(run).overall in (Outcome.VALID, Outcome.UNKNOWN)


def test_channels_count_on_the_main_channel_too():
    assert find(good("compression"), "SET-4").outcome is Outcome.VALID


def test_without_multifd_it_is_not_asked():
    off = device(multifd_transfer=OnOffAuto.OFF)
    run = completed(scenario(off, multifd=False), main=("vfio0",))
    assert judge(run).not_applicable["SET-4"] == "multifd is off"


def test_channel_that_is_missing():
    run = good("multifd")
    thread = only(run, STARTED)[1]
    finding = find(changed(run, [r for r in run.records if r is not thread]), "SET-4")
    assert finding.sentence == (
        "3 receiving threads for channels 0, 2, 3, where 4 channels were requested"
    )


@pytest.mark.parametrize("number", [1, 9])
def test_channel_too_many(number):
    run = good("multifd")
    more = change(only(run, STARTED)[0], id=number)
    finding = find(changed(run, [*run.records, more]), "SET-4")
    assert finding.outcome is Outcome.VIOLATED
    assert "5 receiving threads" in finding.sentence


def test_device_that_did_not_arrive():
    run = good("multifd")
    end = one(run.records, CONFIG_END, device="vfio1")
    finding = find(changed(run, [r for r in run.records if r is not end]), "SET-4")
    assert "the destination completed, but vfio1 was not loaded to its end" in finding.sentence


def test_no_receiving_thread_is_unknown():
    assert find(without(good("multifd"), STARTED), "SET-4").outcome is Outcome.UNKNOWN


def test_failed_migration_is_unknown():
    finding = find(refused(scenario(), "Channel error"), "SET-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "the migration did not complete"
