"""A history grouped for the rules."""

from harness.check.run import INCOMING, LOAD_START, CheckedRun
from harness.history import Kind, Record, Side
from harness.model.expectation import expect
from tests.unit.check.histories import (
    DST,
    FACTS,
    SRC,
    changed,
    device,
    good,
    history,
    only,
    scenario,
)
from tests.unit.check.story import START


def checked(run) -> CheckedRun:
    return CheckedRun(run, expect(run.scenario, FACTS, FACTS))


def test_records_are_found_by_kind_side_device_and_name():
    run = checked(good("multifd"))
    assert [r.args["idx"] for r in run.trace(DST, LOAD_START, "vfio0")][:3] == [0, 1, 2]
    assert len(run.trace(DST, "multifd_recv_thread_start")) == 4
    assert run.trace(SRC, LOAD_START, "vfio0") == ()
    assert run.trace(DST, "nothing", "vfio0") == ()
    assert len(run.seen("vfio1", "received", DST)) == 1
    assert run.named(Kind.QMP, SRC, "STOP") == ()


def test_groups_keep_the_order_of_the_history():
    one = scenario()
    names = ["b", "a", "b", "c"]
    records = [Record(START, DST, Kind.TRACE, name, {"n": n}) for n, name in enumerate(names)]
    run = checked(history(one, records))
    assert [r.args["n"] for r in run.sequence(Kind.TRACE, DST)] == [0, 1, 2, 3]
    assert [r.args["n"] for r in run.trace(DST, "b")] == [0, 2]


def test_records_about_any_device_come_in_order_of_time():
    run = checked(good("multifd"))
    starts = run.everywhere(Kind.TRACE, DST, "vfio_load_bufs_thread_start")
    assert [record.device for record in starts] == ["vfio0", "vfio1"]
    assert set(run.devices_with(Kind.TRACE, DST, INCOMING)) == {"vfio0", "vfio1"}


def test_reception_is_keyed_by_index():
    reception = checked(good("multifd")).reception("vfio0")
    assert reception.highest == 21
    assert set(reception.incoming) == set(range(22))
    assert set(reception.starts) == set(reception.ends) == set(range(21))
    assert reception.repeated == []


def test_reception_keeps_the_first_and_tells_the_repeated():
    run = good("multifd")
    packet = only(run, INCOMING, device="vfio0")[3]
    reception = checked(changed(run, [*run.records, packet])).reception("vfio0")
    assert reception.repeated == [packet]


def test_device_without_packets_has_an_empty_reception():
    reception = checked(good("compression")).reception("vfio0")
    assert reception.highest == -1
    assert not reception.starts


def test_trace_of_one_side_is_not_that_of_the_other():
    records = [Record(START, SRC, Kind.TRACE, "x", {}, "vfio0")]
    run = checked(history(scenario(), records))
    assert run.has_trace(SRC)
    assert not run.has_trace(DST)
    assert run.total == 1


def test_silence_of_the_whole_machine_is_told():
    times = [START, START + 100, START + 200]
    records = [Record(t, Side.HARNESS, Kind.SESSION, "x") for t in times]
    run = checked(history(scenario(), records))
    assert run.was_awake(START, START + 150)
    assert not run.was_awake(START, START + 100)
    assert not run.was_awake(START + 110, START + 190)
    assert not run.was_awake(START + 200, START + 900)


def test_devices_over_multifd_are_those_that_are_expected_there():
    assert checked(good("multifd")).multifd_devices == ["vfio0", "vfio1"]
    run = good("pre-copy, main channel")
    assert checked(run).multifd_devices == []
    assert [d.id for d in checked(run).devices] == [device().id]


def test_configuration_is_the_packet_that_is_flagged_or_the_last_that_came_in():
    for name in ("multifd", "relayed"):
        run = checked(good(name))
        assert [run.config_idx(device) for device in ("vfio0", "vfio1")] == [21, 4]
    assert checked(good("blocked")).config_idx("vfio0") == -1


def test_wire_is_found_by_name_and_device():
    run = checked(good("relayed"))
    assert len(run.wire("packet_out")) == 27
    assert [r.args["idx"] for r in run.wire("packet_out", "vfio1")] == [1, 0, 3, 2, 4]
    assert run.wire("packet_lost") == run.wire("packet_out", "") == ()
