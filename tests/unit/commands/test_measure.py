"""Which series are run, in which order, and which of their runs count."""

import json
from dataclasses import replace as replaced_run

import pytest

from harness.check.judge import judge
from harness.commands import measure
from harness.errors import UsageError, VMError
from harness.history import Kind, Side
from harness.job.run import Run
from harness.job.settings import Settings
from harness.scenario import OnOffAuto, Scenario, to_json
from harness.vm import builds, fits
from tests.unit.called import one_line
from tests.unit.report.moments import START, qmp
from tests.unit.saved_runs import valid_run, violated_run

PLAIN = Scenario(name="plain")


@pytest.fixture
def build(tmp_path):
    """Makes something that passes for a QEMU of a version."""

    def make(version="10.0.0"):
        folder = tmp_path / version
        folder.mkdir()
        binary = folder / "qemu-system-x86_64"
        binary.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        binary.chmod(0o755)
        return binary

    return make


def wanted(build, *texts, base=PLAIN, **settings):
    return measure.wanted(texts, Settings(qemu=str(build()), **settings), base)


def test_series_say_what_differs_and_settings_what_all_have(build):
    found = wanted(build, "transfer=off", "channels=8,devices=2,size=1M", size=5, channels=2)
    off, eight = found.values()
    assert list(found) == ["transfer=off", "channels=8,devices=2,size=1M"]
    assert [d.multifd_transfer for d in off.devices] == [OnOffAuto.OFF]
    assert (off.channels, off.devices[0].size) == (2, 5)
    assert (eight.channels, [d.size for d in eight.devices]) == (8, [1 << 20] * 2)
    assert (off.name, eight.name) == ("transfer-off", "channels-8-devices-2-size-1M")


def test_series_can_be_untraced_or_have_a_scenario_of_its_own(build, tmp_path):
    path = tmp_path / "own.json"
    path.write_bytes(to_json(Scenario(name="own", ram_mib=32)))
    found = wanted(build, f"scenario={path},trace=off")
    (each,) = found.values()
    assert (each.ram_mib, each.trace) == (32, ())


def test_all_series_have_a_machine_type_that_the_oldest_and_newest_build_know(build, monkeypatch):
    old, new = build("10.0.3"), build("11.1.0")

    def common(machine, source, destination):
        return (
            machine if source == destination else f"{source.parent.name} {destination.parent.name}"
        )

    monkeypatch.setattr(builds, "common_machine", common)
    found = measure.wanted([f"qemu={new}", f"qemu={old}"], Settings(), PLAIN)
    assert [each.machine for each in found.values()] == ["11.1.0 10.0.3"] * 2
    assert [each.qemu_dst for each in found.values()] == [str(new), str(old)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("transfer", "a series is KEY=VALUE"),
        ("chanels=4", "keys are scenario, transfer, channels"),
        ("transfer=yes", "transfer is 'yes', not one of on, off, auto"),
        ("trace=auto", "trace is 'auto', not one of on, off"),
        ("channels=x", "channels is 'x', not a number"),
        (f"devices={'1' * 5000}", "devices is '1*', not a number"),
        ("channels=0", "channels is 0"),
        ("size=1X", "'1X' is not a size"),
        ("scenario=/nowhere.json", "/nowhere.json: cannot read"),
    ],
)
def test_what_is_no_series_is_refused_with_why(build, text, why):
    with pytest.raises(UsageError, match=why) as refused:
        wanted(build, text)
    assert "\n" not in str(refused.value)


def test_same_series_twice_and_a_second_migration_are_refused(build, tmp_path):
    with pytest.raises(UsageError, match="twice"):
        wanted(build, "channels=1", "channels=1")
    with pytest.raises(UsageError, match="second migration"):
        measure.wanted(["channels=1"], Settings(), Scenario(name="a", then=(Scenario(name="b"),)))


def test_fewer_rounds_than_statistics_need_are_refused():
    measure.check_rounds(20)
    with pytest.raises(UsageError, match="at least 20"):
        measure.check_rounds(19)


# -- running -----------------------------------------------------------------------------


def migrated(history, downtime_ms=4):
    """``history`` with the events of a downtime."""
    events = [qmp(1, Side.SOURCE, "STOP"), qmp(1 + downtime_ms, Side.DESTINATION, "RESUME")]
    kept = [r for r in history.records if not (r.kind is Kind.QMP and r.name in ("STOP", "RESUME"))]
    first = min(record.t_ns for record in kept)
    shift = first - START
    moved = [type(r)(r.t_ns + shift, r.side, r.kind, r.name) for r in events]
    records = sorted([*kept, *moved], key=lambda record: record.t_ns)
    return replaced_run(history, records=records)


@pytest.fixture
def run_all(monkeypatch, tmp_path):
    """Measures two series whose runs end as given; what was run, what was said, what came."""

    def run(*ends, rounds=3):
        left = list(ends)
        order = []
        said = []

        async def made(rundirs, scenario, **_how):
            order.append(scenario.name)
            end = left.pop(0) if left else valid_run()
            if isinstance(end, BaseException):
                raise end
            return (Run(rundirs[0].path, migrated(end), judge(end)),)

        monkeypatch.setattr(measure, "run_in", made)
        monkeypatch.setattr(fits, "require", lambda _scenario, _trace_events: None)
        scenarios = {name: Scenario(name=name) for name in ("a", "b")}
        found = measure.measure(scenarios, tmp_path, rounds, say=said.append)
        return order, said, found

    return run


def test_name_that_a_build_does_not_know_is_refused_before_anything_runs(build, tmp_path):
    wrong = Scenario(name="a", qemu=str(build()), machine="none", trace=())
    with pytest.raises(UsageError, match="a: machine is 'none'"):
        measure.measure({"a": wrong}, tmp_path, 3, say=print)
    assert not list(tmp_path.glob("measure*"))


def test_series_take_turns_and_each_round_begins_with_another(run_all):
    order, said, found = run_all()
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"
    assert [line.split(":")[0] for line in said] == [
        "not counted",
        "round 1 of 3",
        "round 2 of 3",
        "round 3 of 3",
    ]
    assert [(one.name, one.counted, len(one.runs)) for one in found.series] == [
        ("a", 3, 3),
        ("b", 3, 3),
    ]
    assert found.series[0].runs[0].measured.downtime_ms == 4.0


def test_run_that_fails_is_left_out_and_the_others_count(run_all):
    good = valid_run()
    _, _, found = run_all(good, good, violated_run(), good, VMError("it is gone"))
    a, b = found.series
    assert [run.left_out for run in b.runs] == ["VIOLATED: ORD-1", "", ""]
    assert [run.left_out for run in a.runs] == ["", "lost: it is gone", ""]
    assert (a.counted, b.counted, found.exit_status) == (2, 2, 3)


def test_where_the_first_run_cannot_be_made_nothing_is_measured(run_all):
    with pytest.raises(VMError, match="no trace"):
        run_all(VMError("no trace"))


def test_interrupt_keeps_the_rounds_that_were_whole(run_all):
    good = valid_run()
    _, _, found = run_all(good, good, good, good, good, KeyboardInterrupt())
    assert (found.rounds, found.is_interrupted, found.exit_status) == (1, True, 130)
    assert [len(one.runs) for one in found.series] == [1, 1]


def test_all_of_it_is_written_beside_the_runs(run_all, tmp_path):
    _, _, found = run_all()
    folder = tmp_path / "measure-0001"
    assert found.path == str(folder)
    assert json.loads((folder / "measure.json").read_bytes())["rounds"] == 3
    assert (folder / "measure.svg").read_text().startswith("<svg")
    assert len(list(folder.glob("a-*"))) == 4


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--rounds", "5"], "--rounds 5: at least 20"),
        (["chanels=4"], "chanels=4: a series is KEY=VALUE"),
        (["--scenario", "/nowhere.json"], "/nowhere.json: cannot read"),
    ],
)
def test_bad_input_is_one_line_and_4(call, tmp_path, argv, why):
    status, out, err = call("measure", *argv, "--runs", tmp_path)
    assert (status, out) == (4, "")
    assert why in one_line(err)
    assert not list(tmp_path.iterdir())
