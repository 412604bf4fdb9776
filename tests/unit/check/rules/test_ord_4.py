"""ORD-4: the configuration comes last, once, and restores the config space."""

import msgspec
import pytest

from harness.check.evidence import CONFIG_END, CONFIG_START, LOAD_END, LOAD_START, MAIN_DATA
from harness.check.verdict import Outcome
from harness.history import Kind, Record
from harness.history.session import GuestConfig
from harness.scenario.action_plan import Execute, Target, status
from tests.twins.damage import change, one, swap
from tests.unit.check.histories import (
    DST,
    SRC,
    changed,
    completed,
    find,
    good,
    only,
    refused,
    replaced,
    scenario,
    with_args,
    without,
)
from tests.unit.check.story import MS, history


def test_good_runs_load_one_configuration_for_each_device():
    for name, devices in (("multifd", 2), ("compression", 1), ("no data", 1), ("pre-copy", 1)):
        finding = find(good(name), "ORD-4")
        assert finding.outcome is Outcome.VALID, name
        assert finding.numbers == {
            "configurations_loaded": devices,
            "config_spaces_compared": devices,
        }


def test_configuration_twice_shows_both():
    run = good("multifd")
    again = [
        change(record, t_ns=record.t_ns + MS) for record in only(run, CONFIG_START, device="vfio1")
    ]
    finding = find(changed(run, [*run.records, *again]), "ORD-4")
    assert "vfio1: the configuration was loaded 2 times" in finding.sentence
    assert [record.name for record in finding.evidence].count(CONFIG_START) == 2


@pytest.mark.parametrize("names", [(CONFIG_START, CONFIG_END), (CONFIG_END,), (CONFIG_START,)])
def test_configuration_that_was_not_loaded_though_completed(names):
    finding = find(without(good("multifd"), *names), "ORD-4")
    assert finding.outcome is Outcome.VIOLATED
    assert "the configuration was not loaded" in finding.sentence


def test_configuration_before_data():
    run = good("multifd")
    end = only(run, LOAD_END, device="vfio0")[-1]
    late = replaced(run, end, t_ns=end.t_ns + MS)
    finding = find(late, "ORD-4")
    assert "data was loaded after the configuration" in finding.sentence
    assert [record.name for record in finding.evidence] == [CONFIG_START, LOAD_END]


def test_configuration_before_data_on_the_main_channel():
    run = good("compression")
    data = only(run, MAIN_DATA)[-1]
    late = replaced(run, data, t_ns=data.t_ns + MS)
    assert "data was loaded after the configuration" in find(late, "ORD-4").sentence


def test_configuration_of_one_device_before_data_of_another_is_right():
    run = good("multifd")
    first = one(run.records, CONFIG_END, device="vfio0")
    assert any(r.t_ns > first.t_ns for r in only(run, LOAD_END, device="vfio1"))
    assert find(run, "ORD-4").outcome is Outcome.VALID


def test_highest_packet_loaded_as_data():
    run = good("multifd")
    start = one(run.records, CONFIG_START, device="vfio0")
    pair = [change(start, t_ns=start.t_ns - 1, name=n, idx=21) for n in (LOAD_START, LOAD_END)]
    finding = find(changed(run, [*run.records, *pair]), "ORD-4")
    assert "packet 21, the last, was loaded as data" in finding.sentence


# -- the config space --------------------------------------------------------------------


def test_command_register_that_was_not_restored():
    run = good("multifd")
    config = only(run, "config", side=DST, device="vfio0")
    finding = find(changed(run, swap(list(run.records), config, command=0)), "ORD-4")
    assert "the device's command register was 6 at the source and is 0" in finding.sentence
    assert [record.side for record in finding.evidence] == [SRC, DST]


def test_register_in_the_guests_eyes():
    run = good("multifd")
    view = only(run, "guest_config", side=DST, device="vfio1")
    registers = {**view[0].args.registers, "0x10": 0}
    finding = find(changed(run, swap(list(run.records), view, registers=registers)), "ORD-4")
    assert "register 0x10 as read by the guest was 3221225472" in finding.sentence


def test_registers_that_only_one_side_read_are_not_compared():
    run = good("multifd")
    views = only(run, "guest_config", side=DST)
    fewer = changed(run, swap(list(run.records), views, registers={"0x99": 1}))
    assert find(fewer, "ORD-4").outcome is Outcome.VALID


def test_device_as_it_was_before_the_load_says_nothing():
    run = without(good("multifd"), "guest_config")
    configs = only(run, "config", side=DST)
    early = changed(run, swap(list(run.records), configs, t_ns=run.records[0].t_ns, command=0))
    finding = find(early, "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.numbers["config_spaces_compared"] == 0


def test_device_as_it_is_after_quit_says_nothing():
    run = good("multifd")
    last = run.records[-1].t_ns
    after = [change(r, t_ns=last, command=0) for r in only(run, "config", side=DST)]
    assert find(changed(run, [*run.records, *after]), "ORD-4").outcome is Outcome.VALID


def test_one_of_the_two_views_is_enough():
    assert find(without(good("multifd"), "config"), "ORD-4").outcome is Outcome.VALID
    assert find(without(good("multifd"), "guest_config"), "ORD-4").outcome is Outcome.VALID


def test_config_space_that_nobody_read_is_unknown():
    finding = find(without(good("multifd"), "config", "guest_config"), "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert "not every config space was read" in finding.sentence


def test_scratch_registers_are_a_part_of_the_devices_state():
    run = good("multifd")
    scratched = swap(list(run.records), only(run, "config", side=DST), scratch="ff")
    assert find(changed(run, scratched), "ORD-4").outcome is Outcome.VALID


def test_failed_run_owes_no_configuration():
    finding = find(refused(scenario(), "Channel error"), "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN


def test_without_a_trace_it_is_unknown():
    assert find(completed(scenario(trace=())), "ORD-4").outcome is Outcome.UNKNOWN


def test_config_space_of_a_changed_configuration_is_not_compared():
    run = good("relayed")
    (view,) = only(run, "guest_config", side=DST, device="vfio0")
    registers = dict.fromkeys(view.args.registers, 1)
    damaged = changed(run, swap(list(run.records), [view], registers=registers))
    assert find(damaged, "ORD-4").outcome is Outcome.VIOLATED
    outs = [r for r in only(damaged, "packet_out", device="vfio0") if r.args.marker]
    flipped = changed(damaged, swap(list(damaged.records), outs, digest="d"))
    assert find(flipped, "ORD-4").outcome is Outcome.VALID


# -- resets and other writes after boot ---------------------------------------------------


def completed_at(run):
    return one(run.records, "MIGRATION", side=SRC, status="completed")


def reset_before_the_stop(*, is_read_at_stop: bool):
    """The guest was reset in pre-copy: both sides have registers as after a reset."""
    run = good("multifd")
    begun = one(run.records, "execute", side=SRC, command="migrate")
    blank = {"0x04": 0x100000, "0x10": 0, "0x3c": 0}
    theirs = only(run, "guest_config", side=DST)
    records = swap(list(run.records), theirs, registers=blank)
    records.append(Record(begun.t_ns + 1, SRC, Kind.QMP, "RESET", {}))
    stop = completed_at(run)
    if is_read_at_stop:
        for spec in run.scenario.devices:
            records.append(Record.of(stop.t_ns + 1, SRC, GuestConfig(registers=blank), spec.id))
    return changed(run, [record for record in records if record.name != "config"])


def test_registers_are_those_of_the_stopped_source():
    finding = find(reset_before_the_stop(is_read_at_stop=True), "ORD-4")
    assert finding.outcome is Outcome.VALID


def test_registers_from_before_a_reset_say_nothing():
    finding = find(reset_before_the_stop(is_read_at_stop=False), "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert "not every config space was read" in finding.sentence


@pytest.mark.parametrize("side", [SRC, DST])
def test_reset_after_the_migration_is_not_the_migrations(side):
    run = good("multifd")
    record = only(run, "guest_config", side=DST)[0]
    args = {**record.args.registers, "0x04": 0x100000}
    run = with_args(run, record, registers=args)
    assert find(run, "ORD-4").outcome is Outcome.VIOLATED
    reset = Record(completed_at(run).t_ns + 1, side, Kind.QMP, "RESET", {})
    assert find(changed(run, [*run.records, reset]), "ORD-4").outcome is Outcome.UNKNOWN


def test_registers_from_before_an_action_say_nothing():
    run = good("multifd")
    action = Execute(
        when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="query-status"
    )
    planned = msgspec.structs.replace(run.scenario, actions=(action,))
    run = history(planned, [record for record in run.records if record.name != "config"])
    assert find(run, "ORD-4").outcome is Outcome.UNKNOWN
