"""SET-7: with x-migration-load-config-after-iter the configuration waits."""

import msgspec
import pytest

from harness.check.evidence import CONFIG_START, LOAD_END, THREAD_START
from harness.check.judge import judge
from harness.check.rules.set_7 import PROPERTY, SOON_NS
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.history.wire import MainResumed
from tests.unit.check.histories import changed, completed, find, only, replaced, without
from tests.unit.check.lives import stalled
from tests.unit.check.story import MS, device, scenario


def stall(setting, *, waits: bool):
    return stalled(completed(scenario(device(properties={PROPERTY: setting}))), waits=waits)


@pytest.mark.parametrize("setting", ["on", True])
def test_it_waits_when_on(setting):
    finding = find(stall(setting, waits=True), "SET-7")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"waited": {"vfio0": True}}


@pytest.mark.parametrize("setting", ["off", False])
def test_it_does_not_wait_when_off(setting):
    finding = find(stall(setting, waits=False), "SET-7")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"waited": {"vfio0": False}}


def test_configuration_that_does_not_wait():
    finding = find(stall("on", waits=False), "SET-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "is on, but its configuration did not wait" in finding.sentence
    assert [record.name for record in finding.evidence] == [CONFIG_START, "main_resumed"]


def next_for(idle_ns):
    """Off, and it waits: all that comes before it was loaded so long before the stall's end."""
    run = stall("off", waits=True)
    (resumed,) = only(run, "main_resumed")
    moved = (
        msgspec.structs.replace(record, t_ns=record.t_ns + idle_ns)
        if record is resumed or record.t_ns > resumed.t_ns
        else record
        for record in run.records
    )
    return changed(run, list(moved))


def test_configuration_that_waits_for_nothing():
    finding = find(next_for(SOON_NS + MS), "SET-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "is off, but its configuration waited" in finding.sentence


@pytest.mark.parametrize("idle_ns", [0, SOON_NS - MS])
def test_configuration_that_was_next_too_late_is_not_said_to_have_waited(idle_ns):
    assert find(next_for(idle_ns), "SET-7").outcome is Outcome.UNKNOWN


def test_data_that_comes_after_the_stall_tells_nothing_of_the_configuration():
    run = next_for(SOON_NS + MS)
    (resumed,) = only(run, "main_resumed")
    last = max(only(run, LOAD_END), key=lambda record: record.t_ns)
    assert find(replaced(run, last, t_ns=resumed.t_ns + 1), "SET-7").outcome is Outcome.UNKNOWN


def test_without_the_property_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["SET-7"] == f"{PROPERTY} is not set"


def test_without_a_stall_it_is_not_asked():
    run = completed(scenario(device(properties={PROPERTY: "on"})))
    assert "was not stalled" in judge(run).not_applicable["SET-7"]


@pytest.mark.parametrize("missing", [THREAD_START, CONFIG_START])
def test_load_that_was_not_seen_is_unknown(missing):
    run = without(stall("on", waits=True), missing)
    assert find(run, "SET-7").outcome is Outcome.UNKNOWN


def test_load_that_began_after_the_stall_is_unknown():
    run = stall("on", waits=True)
    (last,) = only(run, "main_resumed")
    early = Record.of(run.records[0].t_ns, last.side, MainResumed())
    run = changed(run, [early, *without(run, "main_resumed").records])
    assert find(run, "SET-7").outcome is Outcome.UNKNOWN
