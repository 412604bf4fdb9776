"""STA-4: statistics of pre-copy agree with what devices reported and what was sent."""

import pytest

from harness.check.judge import judge
from harness.check.rules.sta_4 import TOTAL
from harness.check.verdict import Outcome
from harness.history.device import Reset
from harness.history.records import Record, Side, plain
from harness.scenario import MIB
from tests.twins.damage import one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    changed,
    completed,
    device,
    find,
    good,
    only,
    scenario,
    to_be_sampled,
    without,
)
from tests.unit.check.sampled import with_samples


def answers(records: list[Record]) -> list[Record]:
    """Those in pre-copy."""
    return [
        record
        for record in some(records, "return", command="query-migrate")
        if isinstance(record.args, dict) and record.args["value"].get("status") == "active"
    ]


def said(records: list[Record], number: int, **fields: object) -> list[Record]:
    """With other fields in one of the answers; ``_`` is ``-``."""
    old = answers(records)[number]
    value = {**plain(old)["value"], **{name.replace("_", "-"): fields[name] for name in fields}}
    return swap(records, [old], value=value)


@twin("STA-4", on="sampled")
def precopy_that_is_not_counted_as_transferred(records: list[Record]) -> list[Record]:
    return said(records, -1, vfio={"transferred": 0})


@twin("STA-4", on="sampled")
def remaining_that_leaves_the_device_out(records: list[Record]) -> list[Record]:
    for number in range(len(answers(records))):
        records = said(records, number, remaining=0)
    return swap(records, some(records, TOTAL), total=0)


@twin("STA-4", on="sampled")
def downtime_that_leaves_the_device_out(records: list[Record]) -> list[Record]:
    return said(records, -1, expected_downtime=0)


@twin("STA-4", on="sampled")
def size_of_the_device_that_is_never_asked_again(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "vfio_state_pending"), stopcopy_size=7 * MIB)


def test_answers_that_agree():
    finding = find(good("sampled"), "STA-4")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert finding.numbers == {"samples": 3, "remaining": 3, "expected_downtime": 2}


def test_build_that_counts_ram_only_is_judged_by_what_was_transferred():
    run = to_be_sampled()
    run = changed(run, with_samples(run, counts_all=False))
    finding = find(run, "STA-4")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert finding.numbers == {"samples": 3, "remaining": 0, "expected_downtime": 0}
    assert find(changed(run, said(list(run.records), -1, vfio={})), "STA-4").outcome is (
        Outcome.VIOLATED
    )


@pytest.mark.parametrize(
    ("number", "fields", "shape"),
    [
        (2, {"vfio": {"transferred": 4 * MIB + 1}}, "transferred-differs"),
        (2, {"vfio": {"transferred": MIB}}, "transferred-differs"),
        (2, {"vfio": {"transferred": 2 * MIB}}, ""),  # counted after its trace
        (1, {"vfio": {"transferred": 3 * MIB}}, ""),  # counted before its trace
        (2, {"remaining": 7}, "remaining-differs"),
        (2, {"remaining": 5 * MIB}, ""),  # stored after its trace
        (2, {"expected_downtime": 5 * MIB // 1000}, ""),
        (2, {"expected_downtime": 7 * MIB // 1000}, "expected-downtime-differs"),
        (0, {"expected_downtime": 1}, ""),  # the limit, until it is known
    ],
)
def test_only_what_no_held_up_thread_explains_is_wrong(number, fields, shape):
    run = good("sampled")
    finding = find(changed(run, said(list(run.records), number, **fields)), "STA-4")
    assert finding.shape == shape, finding.sentence
    assert finding.outcome is (Outcome.VIOLATED if shape else Outcome.VALID)


def test_bandwidth_that_was_changed_is_not_known():
    run = good("sampled")
    last = answers(list(run.records))[-1]
    wrong = said(list(run.records), -1, expected_downtime=0)
    asked = {"command": "migrate-set-parameters", "arguments": {}}
    change = Record(last.t_ns - 1, Side.SOURCE, last.kind, "execute", asked)
    assert find(changed(run, [*wrong, change]), "STA-4").outcome is Outcome.VALID


def test_device_that_was_reset_is_not_judged():
    run = good("sampled")
    at = answers(list(run.records))[0].t_ns
    reset = Record.of(at, Side.SOURCE, Reset(), "vfio0")
    assert find(changed(run, [*run.records, reset]), "STA-4").outcome is Outcome.UNKNOWN


def test_answer_before_any_block_shows_nothing():
    run = without(good("sampled"), "vfio_save_block")
    for number in range(3):
        run = changed(run, said(list(run.records), number, vfio={"transferred": 0}))
    assert find(run, "STA-4").outcome is Outcome.UNKNOWN


def test_answer_after_the_switchover_is_not_judged():
    run = good("sampled")
    first = answers(list(run.records))[0].t_ns
    over = [record for record in only(run, "MIGRATION") if record.args["status"] == "device"]
    moved = swap(list(run.records), over, t_ns=first - 1)
    assert "was not asked" in judge(changed(run, moved)).not_applicable["STA-4"]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (lambda: completed(scenario()), "no emulated device with pre-copy"),
        (
            lambda: completed(scenario(device(pre_copy=True, reported_size=MIB))),
            "no emulated device with pre-copy",
        ),
        (lambda: good("pre-copy"), "was not asked"),
    ],
)
def test_what_it_is_not_about(run, why):
    assert why in judge(run()).not_applicable["STA-4"]


def test_last_answer_is_the_one_of_the_end():
    assert one(good("sampled").records, "return", command="query-migrate").t_ns > (
        answers(list(good("sampled").records))[-1].t_ns
    )
