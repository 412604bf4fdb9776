"""REF-6: an index far beyond the state is refused, or costs bounded memory."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Memory
from tests.unit.check.histories import find, good, only, with_args
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import DST, scenario


def far(idx=1_000_000):
    story = Relayed(scenario())
    story.send()
    story.fault("inject")
    story.deliver(packet(idx), *whole())
    return story


def with_memory(story, hwm_kib):
    story.put(DST, Memory(hwm_kib=hwm_kib))
    return story


def test_far_index_that_is_refused():
    assert find(good("far index"), "REF-6").outcome is Outcome.VALID


def test_far_index_that_is_kept_in_bounded_memory():
    run = with_memory(far(), 300_000).completed()
    assert find(run, "REF-6").numbers == {"hwm_kib": 300_000}
    assert find(run, "RUN").outcome is Outcome.VALID


@pytest.mark.parametrize("end", ["completed", "waits"])
def test_far_index_that_takes_much_memory(end):
    finding = find(getattr(with_memory(far(), 2_000_000), end)(), "REF-6")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.endswith("the destination used 1953 MiB, more than 584")
    assert [record.name for record in finding.evidence] == ["packet_out", "memory"]


def test_far_index_that_exhausts_memory():
    run = with_memory(far(), 300_000).completed()
    end = only(run, "exited", side=DST)[0]
    args = {"status": -1, "signal": 5, "asked": False}
    finding = find(with_args(run, end, **args), "REF-6")
    assert "the destination QEMU ended by signal 5" in finding.sentence


def test_memory_that_was_not_measured_is_unknown():
    assert find(far().completed(), "REF-6").outcome is Outcome.UNKNOWN


def test_near_index_is_not_asked():
    run = with_memory(far(5000), 300_000).completed()
    assert "no index far beyond" in judge(run).not_applicable["REF-6"]
