"""What must follow a call that a device failed: the same for a read, a write and an arc."""

from harness.check import device_failure
from harness.check.evidence import Evidence, Seen
from harness.check.rule import Rule
from harness.check.verdict import Finding, Outcome
from harness.history.device import Write
from harness.history.process import Launched
from harness.history.records import Record
from harness.history.rundir import History
from harness.model.expectation import expect
from harness.scenario import LoadBehaviour
from tests.unit.check.histories import changed
from tests.unit.check.lives import Life
from tests.unit.check.story import DST, FACTS, SRC, device, scenario

RULE = Rule(id="LIF-5", title="any rule")
FAILING = device(load=LoadBehaviour(error_at=0))


def failed(said: str, source: str = "failed", **fields) -> History:
    """A run whose destination's device failed a write, and whose QEMU then said ``said``."""
    life = Life(scenario(FAILING, **fields), ("setup", "active", "device"))
    life.put(DST, Write(offset=0, asked=9, got=0, errno=5), "vfio0")
    life.status(SRC, source)
    life.status(DST, "active", "failed")
    life.qmp(DST, "query-migrate", {"status": "failed", "error-desc": said})
    life.asked(SRC)
    life.quit(SRC)
    life.quit(DST)
    return life.history()


def of(run: History) -> tuple[Evidence, Record]:
    evidence = Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))
    return evidence, evidence.of(Write, DST)[0]


def not_failed(run: History) -> Finding | None:
    return device_failure.not_failed(RULE, *at(run))


def at(run: History) -> tuple[Evidence, str, Record]:
    evidence, record = of(run)
    return evidence, "it failed", record


def naming(run: History) -> str:
    return device_failure.naming(*of(run), {"vfio0"})


def unnamed(run: History) -> Finding:
    assert naming(run) == ""
    return device_failure.unnamed(RULE, *at(run), {"vfio0"})


def test_both_sides_failed_and_the_error_names_the_device():
    run = failed("vfio0: write failed")
    assert not_failed(run) is None
    assert naming(run) == "vfio0: write failed"
    finding = device_failure.runs_on(RULE, *at(run), naming(run))
    assert (finding.outcome, finding.numbers) == (Outcome.VALID, {"said": naming(run)})


def test_error_without_the_name_is_a_violation():
    finding = unnamed(failed("I/O error"))
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "unnamed")


def test_section_whose_name_is_not_known_may_be_in_the_error():
    run = failed("error while loading state section id 37(0000:00:02.0/vfio)")
    assert naming(run)
    records = [each for each in run.records if not isinstance(each.args, Launched)]
    assert len(records) == len(run.records) - 2
    finding = unnamed(changed(run, records))
    assert finding.outcome is Outcome.UNKNOWN
    assert "name of its section" in finding.sentence


def test_end_of_the_stream_may_come_before_the_name_if_the_source_does_not_learn_of_it():
    said = "load of migration failed: Unexpected end-of-file"
    assert unnamed(failed(said, return_path=False)).outcome is Outcome.UNKNOWN
    assert unnamed(failed(said)).outcome is Outcome.VIOLATED


def test_source_may_complete_only_if_it_does_not_learn_of_it():
    assert not_failed(failed("vfio0: failed", "completed", return_path=False)) is None
    finding = not_failed(failed("vfio0: failed", "completed"))
    assert finding is not None
    assert finding.shape == "source-completed-after-device-error"
