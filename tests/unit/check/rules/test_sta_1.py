"""STA-1: vfio.transferred is what was observed."""

from typing import Any

import pytest

from harness.check.evidence import INCOMING
from harness.check.verdict import Outcome
from harness.history import Record, Side
from harness.history.session import Deadline
from harness.scenario import MIB, OnOffAuto
from tests.twins.damage import one, swap
from tests.unit.check.histories import (
    SRC,
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
from tests.unit.check.story import CONFIG_BLOB


def telling(run, transferred: int | None):
    answer = one(run.records, "return", side=SRC, command="query-migrate")
    value: dict[str, Any] = {"status": "completed"}
    if transferred is not None:
        value["vfio"] = {"transferred": transferred}
    return changed(run, swap(list(run.records), [answer], value=value))


def test_multifd_counts_headers_and_configurations():
    finding = find(good("multifd"), "STA-1")
    assert finding.outcome is Outcome.VALID
    data = 20 * MIB + 3 + 4 * MIB
    assert finding.numbers == {
        "transferred": data + 12 * (22 + 5) + 2 * CONFIG_BLOB,
        "seen_without_configurations": data + 12 * (22 + 5),
        "configurations": 2 * CONFIG_BLOB,
    }


def test_source_that_completes_after_the_deadline_has_sent_what_was_not_observed():
    run = telling(good("multifd"), 99 * MIB)
    status = only(run, "MIGRATION", side=SRC)[-1]
    assert status.args["status"] == "completed"
    deadline = Record.of(status.t_ns - 1, Side.HARNESS, Deadline("the end", 1.5))
    finding = find(changed(run, [*run.records, deadline]), "STA-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence.startswith("the source completed after the deadline")


@pytest.mark.parametrize("name", ["compression", "pre-copy, main channel"])
def test_main_channel_counts_blocks_only(name):
    finding = find(good(name), "STA-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["configurations"] == 0


def test_pre_copy_share_counts_once():
    finding = find(good("pre-copy"), "STA-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["seen_without_configurations"] == 7 * MIB + 12 * 5


def test_devices_on_both_paths_add_up():
    off = device("b", seed=2, multifd_transfer=OnOffAuto.OFF)
    finding = find(completed(scenario(device(), off), main=("b",)), "STA-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["configurations"] == CONFIG_BLOB


@pytest.mark.parametrize(
    ("configurations", "outcome"),
    [
        (16, Outcome.VIOLATED),
        (17, Outcome.VALID),
        (8191, Outcome.VALID),
        (8192, Outcome.VIOLATED),
        (0, Outcome.VIOLATED),
        (-12, Outcome.VIOLATED),
    ],
)
def test_configuration_weighs_between_its_marks_and_8_kib(configurations, outcome):
    run = completed(scenario())
    seen = 4 * MIB + 12 * 5
    assert find(telling(run, seen + configurations), "STA-1").outcome is outcome


@pytest.mark.parametrize("wrong", [-1, 1, 16])
def test_main_channel_has_no_slack(wrong):
    run = good("compression")
    finding = find(telling(run, 4 * MIB + wrong), "STA-1")
    assert finding.outcome is Outcome.VIOLATED
    assert "to which nothing may be added" in finding.sentence
    assert [record.name for record in finding.evidence] == ["return", "vfio_save_block"]


def test_violation_shows_the_answer_and_what_was_sent():
    finding = find(telling(good("multifd"), 5), "STA-1")
    assert "vfio.transferred is 5" in finding.sentence
    assert [record.name for record in finding.evidence] == ["return", "sent", "sent"]


def test_statistics_without_vfio():
    finding = find(telling(good("multifd"), None), "STA-1")
    assert finding.outcome is Outcome.VIOLATED
    assert "no vfio.transferred" in finding.sentence


def test_last_answer_that_says_completed_counts():
    run = good("multifd")
    answer = one(run.records, "return", side=SRC, command="query-migrate")
    early = {"status": "active", "vfio": {"transferred": 1}}
    records = swap(list(run.records), [answer], t_ns=answer.t_ns - 1, value=early)
    assert find(changed(run, [*records, answer]), "STA-1").outcome is Outcome.VALID


@pytest.mark.parametrize("names", [("return",), ("sent",), (INCOMING,)])
def test_nothing_to_compare_is_unknown(names):
    finding = find(without(good("multifd"), *names), "STA-1")
    assert finding.outcome is Outcome.UNKNOWN


def test_without_the_destinations_trace_multifd_is_unknown_and_main_is_not():
    for name, outcome in (("multifd", Outcome.UNKNOWN), ("compression", Outcome.VALID)):
        run = good(name)
        records = [r for r in run.records if r.kind != "trace" or r.side is SRC]
        assert find(changed(run, records), "STA-1").outcome is outcome


def test_failed_migration_has_no_statistics():
    assert find(refused(scenario(), "Channel error"), "STA-1").outcome is Outcome.UNKNOWN


def test_every_packet_costs_a_header():
    """A packet more, and twelve bytes more may be expected."""
    run = completed(scenario())
    packet = only(run, INCOMING)[0]
    more = [type(packet)(packet.t_ns, packet.side, packet.kind, packet.name,
                         {"name": "vfio0", "idx": 9}, "vfio0", packet.tid, 0)]  # fmt: skip
    finding = find(changed(run, [*run.records, *more]), "STA-1")
    assert finding.numbers["configurations"] == CONFIG_BLOB - 12


@pytest.mark.parametrize("by", [-1, 1])
def test_relay_tells_to_the_byte(by):
    run = good("relayed")
    finding = find(run, "STA-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["on_the_wire"] == finding.numbers["transferred"]
    answer = one(run.records, "return", side=SRC, command="query-migrate")
    value = {"status": "completed", "vfio": {"transferred": finding.numbers["transferred"] + by}}
    wrong = find(changed(run, swap(list(run.records), [answer], value=value)), "STA-1")
    assert wrong.outcome is Outcome.VIOLATED
    assert "bytes were observed on the wire and 0 on the main channel" in wrong.sentence
