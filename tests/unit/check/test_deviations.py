"""Known deviations excuse what they describe, and nothing else."""

import tomllib
from pathlib import Path

import msgspec
import pytest

import harness
from harness.check import deviations
from harness.check.deviations import Deviation
from harness.check.verdict import Finding, Outcome, Verdict
from harness.errors import UsageError
from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.guest import Line
from harness.history.process import Exited, Hung, Stderr
from harness.history.wire import Fault
from harness.job.known import known_deviations

TEXT = """
[[deviation]]
requirements = ["ORD-5"]
case = "empty"
versions = ">=10.0, <11.1"
side = "source"
qemu_says = "buffer of no bytes"
cause = "malloc(0)"
fixed_by = "0123456789ab"

[[deviation]]
requirements = ["REF-1", "REF-2", "LIF-2"]
case = "sync"
versions = ">=10.0"
shape = "waits-in-sync"
cause = "a race"
also = ["STA-1"]

[deviation.only.REF-2]
versions = ">=10.1"

[deviation.only.LIF-2]
case = "another sync"
intermittent = true
shape = "recv-sync-waits-for-ended-channel"
"""
KNOWN = deviations.parse(TEXT, "known.toml")
EMPTY, FIRST, SECOND, OFTEN = KNOWN
OLD = BuildFacts(path="q", version=(10, 0, 3), version_text="")
STDERR = Record.of(1, Side.SOURCE, Stderr(line="a buffer of no bytes!"))


HANG = "recv-sync-waits-for-ended-channel"


def _build(major: int, minor: int) -> BuildFacts:
    return BuildFacts(path="q", version=(major, minor, 3), version_text="")


def _violated(
    requirement: str, shape: str = "", *evidence: Record, sentence: str = "so"
) -> Finding:
    return Finding(
        requirement=requirement,
        outcome=Outcome.VIOLATED,
        sentence=sentence,
        shape=shape,
        evidence=evidence,
    )


def _explained(*findings: Finding, known=KNOWN, build: BuildFacts = OLD) -> dict[str, str]:
    found = deviations.explain(known, Verdict.of(findings, {}), build, build)
    return {requirement: deviation.name for requirement, deviation in found.items()}


# -- the list ----------------------------------------------------------------------------


def test_one_bug_is_one_entry_and_each_requirement_has_its_name():
    assert [each.name for each in KNOWN] == [
        "ord-5-empty", "ref-1-sync", "ref-2-sync", "lif-2-another-sync",
    ]  # fmt: skip
    assert {each.cause for each in KNOWN[1:]} == {"a race"}
    assert EMPTY.fixed_by == "0123456789ab"


def test_one_requirement_of_an_entry_may_differ_in_what_is_said_of_it_only():
    assert (SECOND.versions, SECOND.shape, SECOND.intermittent) == (">=10.1", FIRST.shape, False)
    assert (OFTEN.versions, OFTEN.shape, OFTEN.intermittent) == (">=10.0", HANG, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[deviation]\n", "known.toml"),
        ("[[deviation]]\nrequirements = ['X']\n", "missing required field"),
        (TEXT.replace(">=10.0, <11.1", "10.0"), "'10.0' is not like"),
        (TEXT.replace("buffer of", "("), "known.toml"),
        (TEXT.replace('side = "source"', 'seen = "in our words"'), "unknown field `seen`"),
        (TEXT.replace("only.REF-2", "only.REF-3"), "only REF-3: not in requirements"),
        (TEXT.replace('["ORD-5"]', "[]"), "empty: it breaks no requirement"),
        (TEXT.replace('qemu_says = "buffer of no bytes"', ""), "needs one of shape, qemu_says"),
        (TEXT + "\nwhy = 'because'\n", "unknown field"),
    ],
)
def test_damaged_list_is_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        deviations.parse(text, "known.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "is_found"), [((9, 2), False), ((10, 0), True), ((11, 0), True), ((11, 1), False)]
)
def test_version_of_the_named_side_decides(version: tuple[int, int], is_found: bool) -> None:
    found = deviations.find(KNOWN, "ORD-5", "empty", _build(*version), _build(10, 0))
    assert (found is not None) == is_found
    assert deviations.find(KNOWN, "ORD-5", "empty", _build(9, 2), _build(10, 0)) is None


def test_either_side_counts_where_none_is_named() -> None:
    for pair in ((_build(9, 2), _build(10, 0)), (_build(10, 0), _build(9, 2))):
        assert deviations.find(KNOWN, "REF-1", "sync", *pair) is not None


def test_another_case_of_the_requirement_is_not_excused() -> None:
    assert deviations.find(KNOWN, "ORD-5", "full", _build(10, 0), _build(10, 0)) is None


# -- what one describes ------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        STDERR,
        Record(1, Side.SOURCE, Kind.QMP, "error", {"desc": "a buffer of no bytes"}),
        Record(1, Side.SOURCE, Kind.QMP, "return",
               {"command": "query-migrate", "value": {"error-desc": "a buffer of no bytes"}}),
    ],
    ids=["stderr", "monitor's error", "error-desc"],
)  # fmt: skip
def test_qemus_own_words_are_found_in_the_evidence(record: Record) -> None:
    assert EMPTY.describes(_violated("ORD-5", "", record))


@pytest.mark.parametrize(
    "record",
    [
        Record.of(1, Side.SOURCE, Line(line="a buffer of no bytes")),
        Record.of(1, Side.HARNESS, Fault(fault="drop", position=0, what="a buffer of no bytes")),
        Record(1, Side.SOURCE, Kind.QMP, "execute", {"command": "a buffer of no bytes"}),
        Record.of(1, Side.SOURCE, Hung(waiting_for="x", backtrace="a buffer of no bytes")),
    ],
    ids=["guest", "fault", "command", "backtrace"],
)
def test_other_words_are_not_qemus(record: Record) -> None:
    assert not EMPTY.describes(_violated("ORD-5", "", record))


def test_words_of_the_harness_are_never_asked() -> None:
    assert not EMPTY.describes(_violated("ORD-5", sentence="a buffer of no bytes"))
    assert not FIRST.describes(_violated("REF-1", sentence="waits-in-sync"))
    assert FIRST.describes(_violated("REF-1", "waits-in-sync", sentence="rewritten"))


def test_shape_and_words_must_both_be_there_where_both_are_given() -> None:
    both = msgspec.structs.replace(EMPTY, shape="refused")
    assert both.describes(_violated("ORD-5", "refused", STDERR))
    assert not both.describes(_violated("ORD-5", "refused"))
    assert not both.describes(_violated("ORD-5", "accepted", STDERR))


def test_it_shows_in_its_own_requirement_and_in_run_where_that_is_not_violated() -> None:
    own, run = _violated("ORD-5", "", STDERR), _violated("RUN", "", STDERR)
    assert EMPTY.shown_in(Verdict.of([run, own], {})) is own
    assert EMPTY.shown_in(Verdict.of([run], {})) is run
    assert EMPTY.shown_in(Verdict.of([run, _violated("ORD-5", "otherwise")], {})) is None
    assert EMPTY.shown_in(Verdict.of([_violated("ORD-1", "", STDERR)], {})) is None
    # Where another requirement is violated, RUN repeats that one.
    assert EMPTY.shown_in(Verdict.of([run, _violated("ORD-1", "", STDERR)], {})) is None


def test_intermittent_one_shows_in_whatever_run_it_breaks() -> None:
    other = _violated("LIF-7", OFTEN.shape)
    assert OFTEN.shown_in(Verdict.of([other], {})) is other
    assert OFTEN.shown_in(Verdict.of([_violated("LIF-7", "waits-in-sync")], {})) is None


# -- what explains a verdict --------------------------------------------------------------


def test_each_violation_is_explained_by_a_deviation_of_its_own_requirement() -> None:
    assert _explained(_violated("REF-1", "waits-in-sync")) == {"REF-1": "ref-1-sync"}
    assert _explained(_violated("ORD-1", "waits-in-sync")) == {}
    assert _explained(_violated("REF-1", "accepted")) == {}


def test_versions_of_a_single_requirement_count() -> None:
    finding = _violated("REF-2", "waits-in-sync")
    assert _explained(finding) == {}
    assert _explained(finding, build=_build(10, 1)) == {"REF-2": "ref-2-sync"}


def test_consequence_is_explained_only_beside_its_origin() -> None:
    consequence = _violated("STA-1", "counted-more")
    assert _explained(consequence) == {}
    assert _explained(_violated("REF-1", "waits-in-sync"), consequence) == {
        "REF-1": "ref-1-sync",
        "STA-1": "ref-1-sync",
    }


def test_run_is_explained_where_it_repeats_what_is() -> None:
    end = Record.of(2, Side.DESTINATION, Exited(status=-1, signal=6, asked=False))
    own = _violated("REF-1", "waits-in-sync", end)
    assert _explained(_violated("RUN", "crashed", end), own)["RUN"] == "ref-1-sync"
    another = msgspec.structs.replace(end, t_ns=3)
    assert "RUN" not in _explained(_violated("RUN", "crashed", another), own)
    assert "RUN" not in _explained(_violated("RUN", "crashed", end), _violated("REF-1", "x", end))


def test_run_alone_is_explained_by_what_is_said_there() -> None:
    run = _violated("RUN", "failed", STDERR)
    assert _explained(run) == {"RUN": "ord-5-empty"}
    # The requirement is violated in another way: then it is not that deviation.
    assert _explained(run, _violated("ORD-5", "packet-never-came")) == {}


# -- what interrupts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "is_excused"),
    [
        ([HANG], True),
        ([HANG, "crashed"], False),
        (["hung"], False),
        ([], False),
    ],
)
def test_run_is_interrupted_only_if_every_violation_is_described(
    shapes: list[str], is_excused: bool
) -> None:
    verdict = Verdict.of([_violated("RUN", shape) for shape in shapes], {})
    found = deviations.interrupted_by(KNOWN, verdict, _build(10, 0), _build(11, 1))
    assert (found is not None) == is_excused


def test_shape_that_is_no_hang_means_another_thing_in_another_requirement() -> None:
    silent = msgspec.structs.replace(OFTEN, requirement="LIF-3", shape="source-silent")
    for requirement, is_excused in (("LIF-3", True), ("RUN", True), ("LIF-4", False)):
        verdict = Verdict.of([_violated(requirement, "source-silent")], {})
        assert (deviations.interrupted_by((silent,), verdict, OLD, OLD) is not None) == is_excused
        assert (silent.shown_in(verdict) is not None) == is_excused


def test_of_several_that_fit_one_of_the_violated_requirement_is_named() -> None:
    other = msgspec.structs.replace(OFTEN, requirement="LIF-4")
    verdict = Verdict.of([_violated("LIF-4", HANG)], {})
    assert deviations.interrupted_by((OFTEN, other), verdict, OLD, OLD) is other
    assert deviations.interrupted_by((OFTEN,), verdict, OLD, OLD) is OFTEN


def test_consequences_of_an_intermittent_one_interrupt_the_run_as_well() -> None:
    """SET-9 without a return path: STA-1 counts what was queued, RUN waits for the rest."""
    known = known_deviations()
    found = next(d for d in known if d.name == "set-9-no-return-path")
    done = Record(9, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "completed"})
    broken = [
        _violated("RUN", "load-thread-waits", done),
        _violated("SET-9", found.shape, done),
        _violated("STA-1", "transferred-differs"),
    ]
    assert deviations.interrupted_by(known, Verdict.of(broken, {}), OLD, OLD) is found
    another = _violated("ORD-2", "loaded-late")
    assert deviations.interrupted_by(known, Verdict.of([*broken, another], {}), OLD, OLD) is None
    alone = Verdict.of(broken[::2], {})
    assert deviations.interrupted_by(known, alone, OLD, OLD) is None


def test_two_intermittent_ones_may_meet_in_a_run() -> None:
    """Wrong if one of two that meet shows in every run: that is no interruption."""
    known = tuple(
        msgspec.structs.replace(OFTEN, requirement=requirement, shape=shape)
        for requirement, shape in (("LIF-3", "source-silent"), ("LIF-4", "runs-twice"))
    )
    broken = [_violated("LIF-4", "runs-twice"), _violated("LIF-3", "source-silent")]
    verdict = Verdict.of(broken, {})
    assert deviations.interrupted_by(known, verdict, OLD, OLD) in known
    always = msgspec.structs.replace(known[0], intermittent=False)
    assert deviations.interrupted_by((always, known[1]), verdict, OLD, OLD) is None
    assert deviations.interrupted_by(known[1:], verdict, OLD, OLD) is None


def test_what_a_known_crash_breaks_comes_from_it() -> None:
    """Wrong if a violation that the crash is no part of is excused, or one by another crash."""
    known = known_deviations()
    found = next(d for d in known if "the-load-begins-while" in d.name)
    line = Stderr(line="hw/vfio/migration-multifd.c:349: f: Assertion `multifd' failed.")
    said = Record.of(1, Side.DESTINATION, line)
    crash = Record.of(2, Side.DESTINATION, Exited(status=-1, signal=6, asked=False))
    run = _violated("RUN", "crashed", said, crash)
    for end, is_from_it in ((crash, True), (msgspec.structs.replace(crash, t_ns=3), False)):
        verdict = Verdict.of([run, _violated("LIF-5", "ended", end)], {})
        taken = deviations.interrupted_by(known, verdict, OLD, OLD)
        assert taken is (found if is_from_it else None)
    verdict = Verdict.of([run, _violated("LIF-5", "unnamed", said)], {})
    assert "LIF-5" not in _explained(*verdict.findings, known=known)


def test_deviation_that_is_not_intermittent_interrupts_nothing() -> None:
    verdict = Verdict.of([_violated("REF-1", "waits-in-sync")], {})
    assert deviations.interrupted_by(KNOWN, verdict, _build(10, 0), _build(10, 0)) is None


# -- the project's own list ------------------------------------------------------------------


def _ref_7() -> list[Deviation]:
    return [deviation for deviation in known_deviations() if deviation.requirement == "REF-7"]


def test_new_acceptance_under_ref_7_is_none_of_those_that_are_known() -> None:
    sentence = "SOMETHING ENTIRELY NEW: it must be refused, but the destination completed"
    done = Record(9, Side.DESTINATION, Kind.QMP, "MIGRATION", {"status": "completed"})
    new = _violated("REF-7", "accepted-something-new", done, sentence=sentence)
    run = _violated("RUN", "completed", done)
    verdict = Verdict.of([run, new], {})
    assert len(_ref_7()) == 5
    assert not [d.name for d in known_deviations() if d.shown_in(verdict) is not None]
    assert _explained(run, new, known=known_deviations()) == {}


def test_known_acceptances_under_ref_7_are_told_from_each_other() -> None:
    for deviation in _ref_7():
        if not deviation.shape:
            continue
        finding = _violated("REF-7", deviation.shape)
        claimed = [each.name for each in _ref_7() if each.describes(finding)]
        assert claimed == [deviation.name]


def test_no_two_of_one_requirement_are_told_by_the_same_on_the_same_version() -> None:
    told = {}
    for each in known_deviations():
        told.setdefault((each.requirement, each.shape, each.qemu_says), []).append(each.name)
    assert not [names for names in told.values() if len(names) > 1]


def test_bug_that_breaks_several_requirements_is_one_entry() -> None:
    path = Path(harness.__file__).with_name("check") / "known_deviations.toml"
    requirements: dict[str, set[tuple[str, ...]]] = {}
    for entry in tomllib.loads(path.read_text())["deviation"]:
        requirements.setdefault(entry["cause"], set()).add(tuple(entry["requirements"]))
    assert not [cause for cause, found in requirements.items() if len(found) > 1]
