"""REF-11: every error of a refusal names the device."""

import dataclasses

import msgspec
import pytest

from harness.check import refusal
from harness.check.evidence import INCOMING, Evidence, Seen
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Stderr
from harness.history.records import Kind
from harness.model.expectation import expect
from harness.scenario.fault_plan import CloseChannel, CutStream
from tests.unit.check.histories import find, good, without
from tests.unit.check.relayed import Relayed, refused, whole
from tests.unit.check.story import DST, FACTS, device, history, scenario

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


@pytest.mark.parametrize(
    ("return_path", "outcome"), [(False, Outcome.UNKNOWN), (True, Outcome.VIOLATED)]
)
def test_end_of_a_stream_without_a_return_path_may_come_first(return_path, outcome):
    """The source ends it before the destination has read what it must refuse (SET-9)."""
    story = Relayed(scenario(return_path=return_path))
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    story.add(DST, Kind.TRACE, INCOMING, "vfio0", name="VFIO_FD9", idx=3)
    run = story.refused("Unexpected end-of-file before all data were read")
    assert find(run, "REF-11").outcome is outcome
    refused_for = find(run, "REF-1").outcome
    assert refused_for is (Outcome.VALID if return_path else Outcome.UNKNOWN)


@pytest.mark.parametrize("fault", [CloseChannel(), CutStream(size=9)])
def test_end_that_a_fault_made_is_the_refusal(fault):
    story = Relayed(scenario(return_path=False))
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    run = story.refused("Unexpected end-of-file before all data were read")
    closing = dataclasses.replace(
        run, scenario=msgspec.structs.replace(run.scenario, faults=(fault,))
    )
    assert not refusal.is_cut_off(Evidence(Seen(closing), expect(closing.scenario, FACTS, FACTS)))
    assert refusal.is_cut_off(Evidence(Seen(run), expect(run.scenario, FACTS, FACTS)))


def test_failure_without_a_word_is_unknown():
    run = without(good("duplicate"), "stderr", "return", "error", side=DST)
    assert find(run, "REF-11").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("name", "why_not"),
    [
        ("missing packet", "the destination refused nothing"),
        ("multifd", "the scenario has no faults"),
        ("magic", "what was refused may concern no device"),
        ("closed channel", "what was refused may concern no device"),
    ],
)
def test_it_is_not_asked(name, why_not):
    assert judge(good(name)).not_applicable["REF-11"] == why_not


def test_failure_of_what_need_not_be_refused_is_not_asked():
    story = Relayed(scenario())
    story.send()
    story.fault("delay")
    story.deliver(*whole())
    verdict = judge(story.refused("vfio0: no"))
    assert verdict.not_applicable["REF-11"] == "nothing was delivered that must be refused"
    assert "RUN" in verdict.with_outcome(Outcome.VIOLATED)


# -- what counts as naming it ------------------------------------------------------------

WARNING = "qemu: -device vfio-pci,id=vfio0,addr=0x2: warning: VFIO dma-buf not supported"


def unnamed(line: str):
    """An error that names nobody, and ``line`` on the destination's standard error."""
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    story.put(DST, Stderr(line=line))
    return story


def test_warning_at_start_up_is_no_error_that_names_it():
    run = unnamed(WARNING).refused("state buffer 3 already filled")
    assert find(run, "REF-11").outcome is Outcome.VIOLATED


def test_error_from_before_the_packet_does_not_name_it():
    early = "1999-01-01T00:00:00Z qemu: vfio0: state buffer 3 already filled"
    run = unnamed(early).refused("state buffer 3 already filled")
    assert find(run, "REF-11").outcome is Outcome.VIOLATED


def test_line_that_may_be_older_is_unknown():
    line = "vfio0: state buffer 3 already filled"
    finding = find(unnamed(line).refused("state buffer 3 already filled"), "REF-11")
    assert finding.outcome is Outcome.UNKNOWN
    assert "named the device is not known" in finding.sentence


def test_name_that_the_trace_never_had_leaves_it_unknown():
    run = refused(DUPLICATE, "VFIO_FD9: state buffer 3 already filled")
    blind = [record for record in run.records if record.kind is not Kind.TRACE]
    finding = find(history(run.scenario, blind), "REF-11")
    assert finding.outcome is Outcome.UNKNOWN
    assert "was not seen" in finding.sentence


def test_error_that_is_quicker_than_the_record_of_the_packet_counts():
    """The destination may refuse a packet before the relay has recorded that it went out."""
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate", idx=3)
    story.qmp(DST, "query-migrate", {"error-desc": "vfio0: state buffer 3 already filled"})
    story.deliver(*DUPLICATE)
    assert find(story.refused("state buffer 3 already filled"), "REF-11").outcome is Outcome.VALID
