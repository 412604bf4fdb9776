"""How many packets a state must make, by the best evidence there is."""

from harness.check.evidence import Evidence, Seen
from harness.check.packet_count import Prediction, given_reads, main_bytes, predict
from harness.history import Kind
from harness.model.expectation import expect
from harness.scenario import MIB, SaveBehaviour
from tests.twins.damage import pick, swap
from tests.unit.check.histories import (
    FACTS,
    SRC,
    changed,
    completed,
    device,
    good,
    scenario,
    without,
)


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def without_reads(run):
    return without(run, "read")


def test_the_scenario_alone_is_enough_without_pre_copy():
    assert predict(checked(good("multifd")), "vfio0") == Prediction(21, "the scenario")


def test_reads_tell_what_pre_copy_left():
    run = checked(good("pre-copy"))
    assert given_reads(run, "vfio0") == 7
    assert main_bytes(run, "vfio0") == 3 * MIB
    assert predict(run, "vfio0") == Prediction(4, "the device's reads")


def test_reads_that_failed_or_gave_nothing_do_not_count():
    run = good("pre-copy")
    reads = pick(run.records, "read")
    failed = changed(run, swap(list(run.records), reads[:1], errno=5, got=0))
    assert given_reads(checked(failed), "vfio0") == 6


def test_without_reads_the_bytes_tell():
    run = checked(without_reads(good("pre-copy")))
    assert given_reads(run, "vfio0") == -1
    assert predict(run, "vfio0") == Prediction(4, "what pre-copy left over")


def test_a_rest_makes_one_more():
    spec = device(size=MIB + 1, pre_copy=True, precopy_initial_bytes=MIB)
    run = checked(without_reads(completed(scenario(spec))))
    assert predict(run, "vfio0").packets == 2


def test_short_reads_that_nobody_recorded_cannot_be_told():
    spec = device(pre_copy=True, precopy_initial_bytes=MIB, save=SaveBehaviour(read_sizes=(9_999,)))
    run = checked(without_reads(completed(scenario(spec))))
    assert predict(run, "vfio0").packets == -1


def test_without_a_trace_of_the_source_nothing_is_known_of_pre_copy():
    run = good("pre-copy")
    records = [r for r in run.records if r.side is not SRC or r.kind is not Kind.TRACE]
    found = predict(checked(changed(run, records)), "vfio0")
    assert found.packets == -1
    assert "no trace" in found.source


def test_device_that_reported_nothing_cannot_be_told():
    run = without_reads(good("pre-copy"))
    setups = pick(run.records, "vfio_save_setup")
    run = changed(run, swap(list(run.records), setups, data_buffer_size=0))
    assert predict(checked(run), "vfio0").packets == -1
