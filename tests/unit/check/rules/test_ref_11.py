"""REF-11: every error of a refusal names the device."""

import pytest

from harness.check.judge import judge
from harness.check.run import INCOMING
from harness.check.verdict import Outcome
from harness.history.records import Kind
from tests.unit.check.histories import find, good, without
from tests.unit.check.relayed import Relayed, refused, whole
from tests.unit.check.story import DST, device, scenario

DUPLICATE = [*whole()[:4], *whole()[3:]]


def test_error_with_the_devices_id():
    assert find(good("duplicate"), "REF-11").outcome is Outcome.VALID


def test_error_without_a_name():
    finding = find(refused(DUPLICATE, "state buffer 3 already filled"), "REF-11")
    assert finding.outcome is Outcome.VIOLATED
    assert "the error must name vfio0: " in finding.sentence
    assert finding.evidence[-1].name == "packet_out"


def test_error_with_the_name_of_another_device():
    run = refused(DUPLICATE, "vfio1: state buffer 3 already filled", device(), device("vfio1"))
    assert find(run, "REF-11").outcome is Outcome.VIOLATED


def test_error_with_the_name_that_the_trace_has():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    story.add(DST, Kind.TRACE, INCOMING, "vfio0", name="VFIO_FD9", idx=3)
    run = story.refused("VFIO_FD9: state buffer 3 already filled")
    assert find(run, "REF-11").outcome is Outcome.VALID


def test_failure_without_a_word_is_unknown():
    run = without(good("duplicate"), "stderr", "return", "error", side=DST)
    assert find(run, "REF-11").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("name", "why_not"),
    [
        ("missing packet", "the destination refused nothing"),
        ("multifd", "no faults are on the way"),
        ("magic", "what was refused may concern no device"),
        ("closed channel", "what was refused may concern no device"),
    ],
)
def test_it_is_not_asked(name, why_not):
    assert judge(good(name)).not_asked["REF-11"] == why_not


def test_failure_of_what_need_not_be_refused_is_not_asked():
    story = Relayed(scenario())
    story.send()
    story.fault("delay")
    story.deliver(*whole())
    verdict = judge(story.refused("vfio0: no"))
    assert verdict.not_asked["REF-11"] == "nothing was delivered that must be refused"
    assert "RUN" in verdict.with_outcome(Outcome.VIOLATED)
