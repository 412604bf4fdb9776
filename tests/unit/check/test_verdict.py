"""Three outcomes, and what they add up to."""

import json

import msgspec
import pytest

from harness.check.verdict import Finding, Outcome, Verdict, from_json
from harness.history import Kind, Record, Side

VALID, VIOLATED, UNKNOWN = Outcome.VALID, Outcome.VIOLATED, Outcome.UNKNOWN
RECORD = Record(1, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "failed"})


def verdict(*outcomes: Outcome) -> Verdict:
    findings = [
        Finding(requirement=f"ORD-{n}", outcome=outcome, sentence="seen")
        for n, outcome in enumerate(outcomes, 1)
    ]
    return Verdict.of(findings, {"SET-3": "the machine type is newer"})


@pytest.mark.parametrize(
    ("outcomes", "overall", "status"),
    [
        ((VALID,), VALID, 0),
        ((VALID, VALID), VALID, 0),
        ((VALID, UNKNOWN), UNKNOWN, 2),
        ((UNKNOWN,), UNKNOWN, 2),
        ((VALID, VIOLATED, UNKNOWN), VIOLATED, 1),
        ((VIOLATED,), VIOLATED, 1),
    ],
)
def test_findings_add_up(outcomes, overall, status):
    found = verdict(*outcomes)
    assert found.overall is overall
    assert found.exit_status == status


def test_nothing_asked_is_never_valid():
    assert verdict().overall is UNKNOWN


def test_finding_is_found_by_its_requirement():
    found = verdict(VALID, VIOLATED)
    second = found.finding("ORD-2")
    assert second is not None
    assert second.outcome is VIOLATED
    assert found.finding("SET-3") is None
    assert found.with_outcome(VIOLATED) == ("ORD-2",)


def test_verdict_round_trips_with_its_evidence():
    finding = Finding(
        requirement="STA-1",
        outcome=VIOLATED,
        sentence="it is not so",
        evidence=(RECORD,),
        numbers={"transferred": 5, "paths": {"vfio0": "multifd"}},
    )
    found = Verdict.of([finding], {"SET-3": "why not"})
    assert from_json(found.to_json()) == found


def test_written_verdict_is_made_for_people_too():
    words = json.loads(verdict(VIOLATED).to_json())
    assert words["overall"] == "violated"
    assert words["findings"][0] == {
        "requirement": "ORD-1",
        "outcome": "violated",
        "sentence": "seen",
    }


def test_other_json_is_no_verdict():
    with pytest.raises(msgspec.DecodeError):
        from_json(b'{"overall": "maybe"}')
