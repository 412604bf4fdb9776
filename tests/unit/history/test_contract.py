"""What records promise: damage is found where they are loaded, and no rule stumbles over it.

Wrong would be: a good record that is refused (all saved and synthetic runs pass), and a bad one
that gets as far as a rule, which then fails as if it had a bug.
"""

import time
from collections import defaultdict
from collections.abc import Iterator

import msgspec
import pytest

from harness.check.judge import judge
from harness.errors import HistoryError
from harness.history import Event, Kind, Record, Side, contract
from harness.history.rundir import HISTORY, History, load
from harness.measure.measured import measured
from harness.report import stuck
from tests.unit.check.histories import GOOD, changed, good, scenario
from tests.unit.saved_runs import save

FAULTY = next(name for name in GOOD if good(name).scenario.faults)
ABSENT = object()


def refusal_of(*events: Event, name: str = FAULTY) -> str:
    """The words with which ``events`` are refused; empty if they are not."""
    try:
        contract.check(contract.typed(events, "h"), good(name).scenario, "h")
    except HistoryError as error:
        return str(error)
    return ""


def event(kind: Kind, name: str, **args: object) -> Event:
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
        (event(Kind.DEVICE, "sent", bytes="5", digest="x"), "Expected `int`, got `str`"),
        (
            event(Kind.WIRE, "fault", fault="nothing", position=0, what="x"),
            "nothing: no such fault",
        ),
        (event(Kind.WIRE, "fault", fault="drop", position=99, what="x"), "no such position"),
        (event(Kind.SESSION, "action", action="x", position=-1), "no such position"),
        (event(Kind.SESSION, "faults", fired=[]), "not a number for each fault"),
        (event(Kind.QMP, "return", command="query-status", value=5), "no object"),
        (event(Kind.QMP, "return", command="query-status"), "no object"),
    ],
)
def test_what_is_promised_of_the_scenario_and_of_values(bad: Event, words: str) -> None:
    assert words in refusal_of(bad)


@pytest.mark.parametrize(
    "fine",
    [
        event(Kind.QMP, "return", command="query-status", value={}),
        event(Kind.QMP, "return", command="quit"),
        event(Kind.TRACE, "some_event", position="x"),
        event(Kind.GUEST, "of_a_newer_harness"),
        event(Kind.PROCESS, "memory", hwm_kib=5),
    ],
)
def test_what_is_not_promised_is_not_asked_for(fine: Event) -> None:
    assert not refusal_of(fine)


def test_a_million_records_are_checked_in_seconds() -> None:
    packet = Record(5, Side.DESTINATION, Kind.TRACE, "vfio_load_state_device_buffer_incoming",
                    {"name": "VFIO", "idx": 7})  # fmt: skip
    before = time.perf_counter()
    contract.check([packet] * 200_000, scenario(), "h")
    assert time.perf_counter() - before < 2


# -- no rule stumbles -------------------------------------------------------------------------


def _damaged(run: History) -> Iterator[tuple[str, list[bytes]]]:
    """The run's lines with one argument of all records of one name absent, or of another type."""
    lines = [msgspec.to_builtins(record) for record in run.records]
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines:
        groups[line["kind"], line["name"]].update(line.get("args", {}))
    for (kind, name), keys in groups.items():
        for key in sorted(keys):
            for value in (ABSENT, [{}]):
                damaged = [_without(line, kind, name, key, value) for line in lines]
                yield f"{kind} {name} {key} {value}", [msgspec.json.encode(d) for d in damaged]


def _without(line: dict, kind: str, name: str, key: str, value: object) -> dict:
    args = line.get("args", {})
    if (line["kind"], line["name"]) != (kind, name) or key not in args:
        return line
    rest = {k: v for k, v in args.items() if k != key}
    return {**line, "args": rest if value is ABSENT else {**rest, key: value}}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_damage_is_refused_or_judged_and_never_a_bug_of_a_rule(name: str) -> None:
    """Whatever is not refused when it is loaded, every rule and the report can cope with."""
    run = good(name)
    for what, lines in _damaged(run):
        events = msgspec.json.Decoder(Event).decode_lines(b"\n".join(lines))
        try:
            records = contract.typed(events, "h")
            contract.check(records, run.scenario, "h")
        except HistoryError:
            continue
        damaged = changed(run, records)
        try:
            judge(damaged)
            stuck.describe(damaged)
            measured(damaged)
        except HistoryError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{what}: {error!r}")
