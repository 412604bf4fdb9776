"""What records promise: damage is found where they are loaded, and no rule stumbles over it.

Wrong would be: a good record that is refused (all saved and synthetic runs pass), and a bad one
that gets as far as a rule, which then fails as if it had a bug.
"""

import time
from collections import defaultdict

import msgspec
import pytest

from harness.check.judge import judge
from harness.errors import HistoryError
from harness.history import Kind, Record, Side, contract
from harness.history.rundir import HISTORY, History, load
from harness.measure.measured import measured
from harness.report import stuck
from tests.unit.check.histories import GOOD, changed, good, scenario
from tests.unit.saved_runs import save

FAULTY = next(name for name in GOOD if good(name).scenario.faults)
ABSENT = object()


def refusal_of(*records: Record, name: str = FAULTY) -> str:
    """The words with which ``records`` are refused; "": they are not."""
    try:
        contract.check(records, good(name).scenario, "h")
    except HistoryError as error:
        return str(error)
    return ""


def record(kind: Kind, name: str, **args: object) -> Record:
    return Record(5, Side.HARNESS, kind, name, args)


@pytest.mark.parametrize("name", GOOD)
def test_synthetic_runs_keep_all_promises(name: str) -> None:
    run = good(name)
    contract.check(run.records, run.scenario, "h")


def test_damaged_record_of_a_saved_run_is_one_line_that_names_it(tmp_path) -> None:
    path = save(good("multifd"), tmp_path)
    lines = (path / HISTORY).read_text().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if "buffer_incoming" in line)
    lines[at] = lines[at].replace('"idx"', '"index"')
    (path / HISTORY).write_text("".join(lines))
    with pytest.raises(
        HistoryError, match=rf"history\.jsonl: line {at + 1}: trace vfio_load"
    ) as it:
        load(path)
    assert "missing required field `idx`" in str(it.value)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (record(Kind.DEVICE, "sent", bytes="5", digest="x"), "Expected `int`, got `str`"),
        (
            record(Kind.WIRE, "fault", fault="nothing", position=0, what="x"),
            "nothing: no such fault",
        ),
        (record(Kind.WIRE, "fault", fault="drop", position=99, what="x"), "no such position"),
        (record(Kind.SESSION, "action", action="x", position=-1), "no such position"),
        (record(Kind.SESSION, "faults", fired=[]), "not a number for each fault"),
        (record(Kind.QMP, "return", command="query-status", value=5), "no object"),
        (record(Kind.QMP, "return", command="query-status"), "no object"),
    ],
)
def test_what_is_promised_of_the_scenario_and_of_values(bad: Record, words: str) -> None:
    assert words in refusal_of(bad)


@pytest.mark.parametrize(
    "fine",
    [
        record(Kind.QMP, "return", command="query-status", value={}),
        record(Kind.QMP, "return", command="quit"),
        record(Kind.TRACE, "some_event", position="x"),
        record(Kind.GUEST, "of_a_newer_harness"),
        record(Kind.PROCESS, "memory", hwm_kib=5),
    ],
)
def test_what_is_not_promised_is_not_asked_for(fine: Record) -> None:
    assert not refusal_of(fine)


def test_a_million_records_are_checked_in_seconds() -> None:
    packet = Record(5, Side.DESTINATION, Kind.TRACE, "vfio_load_state_device_buffer_incoming",
                    {"name": "VFIO", "idx": 7})  # fmt: skip
    before = time.perf_counter()
    contract.check([packet] * 200_000, scenario(), "h")
    assert time.perf_counter() - before < 2


# -- no rule stumbles -------------------------------------------------------------------------


def _damaged(run: History) -> list[tuple[str, History]]:
    """The run with one argument of all records of one name taken away, or of another type."""
    groups: dict[tuple[Kind, str], set[str]] = defaultdict(set)
    for each in run.records:
        groups[each.kind, each.name].update(each.args)
    found = []
    for (kind, name), keys in groups.items():
        for key in keys:
            for value in (ABSENT, [{}]):
                records = [_without(r, kind, name, key, value) for r in run.records]
                found.append((f"{kind} {name} {key} {value}", changed(run, records)))
    return found


def _without(old: Record, kind: Kind, name: str, key: str, value: object) -> Record:
    if (old.kind, old.name) != (kind, name) or key not in old.args:
        return old
    args = {k: v for k, v in old.args.items() if k != key}
    return msgspec.structs.replace(old, args=args if value is ABSENT else {**args, key: value})


@pytest.mark.parametrize("name", sorted(GOOD))
def test_damage_is_refused_or_judged_and_never_a_bug_of_a_rule(name: str) -> None:
    """Whatever is not refused when it is loaded, every rule and the report can cope with."""
    for what, run in _damaged(good(name)):
        try:
            contract.check(run.records, run.scenario, "h")
        except HistoryError:
            continue
        try:
            judge(run)
            stuck.describe(run)
            measured(run)
        except HistoryError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{what}: {error!r}")
