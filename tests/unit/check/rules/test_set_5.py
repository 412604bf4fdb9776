"""SET-5: TLS secures every channel, and mismatched credentials are refused."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.rules.set_5 import CHANNEL_TYPE, INCOMING_CHANNEL
from harness.check.verdict import Outcome
from harness.history import Kind
from harness.history.process import Stderr
from harness.history.records import Record, Side
from harness.history.session import Deadline
from harness.scenario import MISMATCHES, OnOffAuto, Tls, TlsMismatch
from tests.unit.check.histories import (
    changed,
    completed,
    evidence_of,
    find,
    only,
    replaced,
    with_args,
    without,
)
from tests.unit.check.lives import CANCEL, Life
from tests.unit.check.secured import handshake_refused, secured
from tests.unit.check.story import DST, SRC, device, scenario

WITH_TLS = scenario(tls=Tls.X509)
WRONG_KEY = scenario(tls=Tls.PSK, tls_mismatch=TlsMismatch.KEY)


def opened(run):
    return only(run, "channel_opened")


def kind(run, record, name):
    return replaced(run, record, args=msgspec.structs.replace(record.args, kind=name))


@pytest.mark.parametrize(
    ("told", "witnesses"),
    [
        ({}, {"the wire", "the source's trace", "the destination's trace"}),
        ({"trace": False}, {"the wire"}),
        ({"relay": False}, {"the source's trace", "the destination's trace"}),
    ],
)
def test_every_channel_is_tls(told, witnesses):
    finding = find(secured(completed(WITH_TLS), **told), "SET-5")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["channels"] == 5
    assert finding.numbers["seen"] == dict.fromkeys(witnesses, 5)


def test_without_multifd_there_is_one_channel():
    off = device(multifd_transfer=OnOffAuto.OFF)
    run = completed(scenario(off, tls=Tls.PSK, multifd=False), main=("vfio0",))
    (main,) = opened(whole := secured(run, trace=False))[:1]
    run = changed(whole, [r for r in whole.records if r.name != "channel_opened" or r is main])
    assert find(run, "SET-5").outcome is Outcome.VALID


@pytest.mark.parametrize("plain", ["main", "multifd", "raw"])
def test_connection_without_tls(plain):
    run = secured(completed(WITH_TLS))
    finding = find(kind(run, opened(run)[0], plain), "SET-5")
    assert finding.sentence == "1 of 5 connections began without TLS"
    assert evidence_of(finding)[0].args.kind == plain


@pytest.mark.parametrize(
    ("side", "name"),
    [
        (SRC, "migration_set_outgoing_channel"),
        (SRC, "multifd_set_outgoing_channel"),
        (DST, INCOMING_CHANNEL),
    ],
)
def test_channel_that_no_session_was_made_for(side, name):
    run = secured(completed(WITH_TLS), relay=False)
    session = [r for r in only(run, name) if r.args["ioctype"] == CHANNEL_TYPE][-1]
    finding = find(changed(run, [r for r in run.records if r is not session]), "SET-5")
    assert finding.sentence == f"the {side} completed with 4 of 5 channels over TLS"
    assert len(finding.evidence) == 5


def test_nothing_seen_is_unknown():
    assert find(completed(WITH_TLS), "SET-5").outcome is Outcome.UNKNOWN


def test_connections_that_were_not_all_seen_are_unknown():
    run = secured(completed(WITH_TLS), trace=False, channels=3)
    assert find(run, "SET-5").outcome is Outcome.UNKNOWN


def test_session_that_could_not_be_terminated():
    run = secured(completed(WITH_TLS))
    words = "qemu: warning: multifd_send_0: Failed to terminate TLS connection: Broken pipe"
    said = Record.of(run.records[-1].t_ns, SRC, Stderr(line=words))
    finding = find(changed(run, [*run.records, said]), "SET-5")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.endswith("Failed to terminate TLS connection: Broken pipe")


def test_failed_migration_is_unknown():
    life = Life(WITH_TLS)
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.end("inmigrate")
    assert find(life.history(), "SET-5").outcome is Outcome.UNKNOWN


def test_without_tls_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["SET-5"] == "no TLS"


def test_cancelled_migration_does_not_ask():
    life = Life(scenario(tls=Tls.PSK, actions=(CANCEL,)))
    life.act()
    life.cancelled()
    life.end("inmigrate")
    assert "need not complete" in judge(life.history()).not_applicable["SET-5"]


@pytest.mark.parametrize(
    ("tls", "mismatch"), [(tls, each) for tls, some in MISMATCHES.items() for each in some]
)
def test_what_does_not_fit_is_refused(tls, mismatch):
    run = handshake_refused(scenario(tls=tls, tls_mismatch=mismatch))
    finding = find(run, "SET-5")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence.startswith(f"tls_mismatch={mismatch}")
    assert set(judge(run).with_outcome(Outcome.VIOLATED)) == set()


@pytest.mark.parametrize("side", [SRC, DST])
def test_wrong_key_that_is_taken(side):
    run = handshake_refused(WRONG_KEY)
    told = Record(run.records[-1].t_ns, side, Kind.QMP, "MIGRATION", {"status": "completed"})
    finding = find(changed(run, [*run.records, told]), "SET-5")
    assert finding.sentence.endswith(f"it must be refused, but the {side} completed")
    assert finding.evidence


def test_refusal_that_does_not_come():
    life = Life(WRONG_KEY, ("setup",))
    life.hangs("source")
    life.end("inmigrate")
    finding = find(life.history(), "SET-5")
    assert finding.outcome is Outcome.VIOLATED
    assert "nothing ended" in finding.sentence


def test_refusal_that_was_never_asked_for():
    life = Life(WRONG_KEY, ())
    why = "destination: object-add was not answered within 10 s"
    life.put(Side.HARNESS, Deadline(why, 15.0))
    run = life.history()
    begun = [
        r for r in run.records if isinstance(r.args, dict) and r.args.get("command") == "migrate"
    ]
    assert begun
    finding = find(changed(run, [r for r in run.records if r not in begun]), "SET-5")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no migration was begun; destination: object-add was not answered" in finding.sentence


def test_source_that_dies():
    run = handshake_refused(WRONG_KEY)
    (end,) = only(run, "exited", side=SRC)
    run = with_args(run, end, status=-1, signal=6, asked=False)
    finding = find(run, "SET-5")
    assert "the source is lost" in finding.sentence
    assert evidence_of(finding)[0].args.signal == 6


def test_failure_that_nothing_is_said_of_is_unknown():
    run = without(handshake_refused(WRONG_KEY), "stderr")
    (answer,) = [r for r in only(run, "return", side=SRC) if "error-desc" in r.args["value"]]
    run = with_args(run, answer, value={"status": "failed"})
    assert find(run, "SET-5").outcome is Outcome.UNKNOWN


def test_mismatch_counts_for_no_rule_of_a_migration_that_completes():
    asked = {finding.requirement for finding in judge(handshake_refused(WRONG_KEY)).findings}
    assert asked == {"RUN", "SET-5"}


def test_failure_for_something_else_is_no_refusal():
    run = without(handshake_refused(WRONG_KEY), "stderr")
    (answer,) = [r for r in only(run, "return", side=SRC) if "error-desc" in r.args["value"]]
    value = {"status": "failed", "error-desc": "Unable to write to socket: Broken pipe"}
    finding = find(with_args(run, answer, value=value), "SET-5")
    assert finding.outcome is Outcome.UNKNOWN
    assert "Broken pipe" in finding.sentence


@pytest.mark.parametrize("manner", ["", "gracefully "])
def test_each_versions_warning_is_known(manner):
    """QEMU 10.0's, and that of 10.2 and 11.1."""
    words = f"qemu: warning: Failed to {manner}terminate TLS connection: Broken pipe"
    run = secured(completed(WITH_TLS))
    said = Record.of(run.records[-1].t_ns, SRC, Stderr(line=words))
    finding = find(changed(run, [*run.records, said]), "SET-5")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.endswith(f"Failed to {manner}terminate TLS connection: Broken pipe")
