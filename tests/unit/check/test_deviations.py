"""Known deviations excuse what they describe, and nothing else."""

import pytest

from harness.check import deviations
from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import UsageError
from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts

TEXT = """
[[deviation]]
requirement = "ORD-5"
case = "empty"
versions = ">=10.0, <11.1"
side = "source"
seen = "buffer of no bytes"
cause = "malloc(0)"

[[deviation]]
requirement = "SET-4"
case = "sync"
versions = ">=10.0"
seen = "waits in sync"
cause = "a race"
intermittent = true
"""
KNOWN = deviations.parse(TEXT, "known.toml")


def _build(major: int, minor: int) -> BuildFacts:
    return BuildFacts(path="q", version=(major, minor, 3), version_text="")


def _violated(sentence: str, *evidence: Record) -> Finding:
    return Finding(
        requirement="RUN", outcome=Outcome.VIOLATED, sentence=sentence, evidence=evidence
    )


@pytest.mark.parametrize(
    ("version", "is_found"), [((9, 2), False), ((10, 0), True), ((11, 0), True), ((11, 1), False)]
)
def test_version_of_the_named_side_decides(version: tuple[int, int], is_found: bool) -> None:
    found = deviations.find(KNOWN, "ORD-5", "empty", _build(*version), _build(10, 0))
    assert (found is not None) == is_found
    assert deviations.find(KNOWN, "ORD-5", "empty", _build(9, 2), _build(10, 0)) is None


def test_either_side_counts_where_none_is_named() -> None:
    for pair in ((_build(9, 2), _build(10, 0)), (_build(10, 0), _build(9, 2))):
        assert deviations.find(KNOWN, "SET-4", "sync", *pair) is not None


def test_another_case_of_the_requirement_is_not_excused() -> None:
    assert deviations.find(KNOWN, "ORD-5", "full", _build(10, 0), _build(10, 0)) is None


def test_it_describes_words_and_evidence_and_nothing_else() -> None:
    said = Record(1, Side.SOURCE, Kind.PROCESS, "stderr", {"line": "a buffer of no bytes!"})
    assert KNOWN[0].describes(_violated("failed", said))
    assert KNOWN[0].describes(_violated("a buffer of no bytes"))
    assert not KNOWN[0].describes(_violated("failed"))


@pytest.mark.parametrize(
    ("sentences", "is_excused"),
    [
        (["it waits in sync"], True),
        (["it waits in sync", "and it crashed"], False),
        (["it hung"], False),
        ([], False),
    ],
)
def test_run_is_interrupted_only_if_every_violation_is_described(
    sentences: list[str], is_excused: bool
) -> None:
    verdict = Verdict.of(map(_violated, sentences), {})
    found = deviations.interrupted_by(KNOWN, verdict, _build(10, 0), _build(11, 1))
    assert (found is not None) == is_excused


def test_deviation_that_is_not_intermittent_interrupts_nothing() -> None:
    verdict = Verdict.of([_violated("buffer of no bytes")], {})
    assert deviations.interrupted_by(KNOWN, verdict, _build(10, 0), _build(10, 0)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[deviation]\n", "known.toml"),
        ("[[deviation]]\nrequirement = 'X'\n", "missing required field"),
        (TEXT.replace(">=10.0, <11.1", "10.0"), "'10.0' is not like"),
        (TEXT.replace("buffer of", "("), "known.toml"),
        (TEXT + "\nwhy = 'because'\n", "unknown field"),
    ],
)
def test_damaged_list_is_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        deviations.parse(text, "known.toml")
    assert "\n" not in str(caught.value)
