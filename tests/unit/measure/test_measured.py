"""What one run measured."""

from pathlib import Path

import pytest

from harness.history import Side, rundir
from harness.history.device import Sent
from harness.measure.measured import measured
from tests.unit.report.moments import CONFIG, arc, at, buffer, memory, of, qmp, run

SRC, DST = Side.SOURCE, Side.DESTINATION
GOOD = Path(__file__).parents[2] / "data" / "good"


def answer(ms, side=SRC, **value):
    return qmp(ms, side, "return", command="query-migrate", value=value)


def sent(size, device="vfio0"):
    return of(90, SRC, Sent(bytes=size, digest=""), device)


def test_downtime_is_from_stop_to_resume_with_its_parts():
    found = measured(
        run(
            qmp(10, SRC, "STOP"),
            buffer(12, "incoming", 0, channel=1),
            buffer(13, "incoming", 1, channel=1),
            at(16, f"{CONFIG}start", device="vfio0"),
            at(17, f"{CONFIG}end", device="vfio0"),
            qmp(20, DST, "RESUME"),
        )
    )
    assert found.downtime_ms == 10.0
    assert sum(found.parts_ms.values()) == found.downtime_ms
    assert found.channels == {"1": 2}


def test_guest_that_the_source_ran_again_was_not_migrated():
    found = measured(run(qmp(10, SRC, "STOP"), qmp(15, SRC, "RESUME")))
    assert (found.downtime_ms, found.parts_ms) == (None, {})


def test_qemu_s_own_downtime_is_the_completed_source_s():
    found = measured(
        run(
            answer(1, status="active", downtime=300),
            answer(2, status="completed", downtime=7, **{"total-time": 40}),
            answer(3, DST, status="completed", downtime=99),
        )
    )
    assert (found.qemu_downtime_ms, found.total_ms) == (7, 40)


def test_throughput_is_all_state_from_the_first_stop_copy_to_the_last_load():
    records = [
        qmp(9, SRC, "STOP"),
        arc(10, SRC, "STOP_COPY"),
        arc(25, SRC, "STOP_COPY"),
        at(30, f"{CONFIG}end", device="vfio0"),
        at(110, f"{CONFIG}end", device="vfio1"),
        qmp(120, DST, "RESUME"),
        sent(2 << 20),
        sent(3 << 20, "vfio1"),
    ]
    assert measured(run(*records, devices=("vfio0", "vfio1"))).throughput_mib_s == 50.0


def test_there_is_no_throughput_of_a_run_without_trace():
    records = [qmp(9, SRC, "STOP"), arc(10, SRC, "STOP_COPY"), qmp(20, DST, "RESUME"), sent(9)]
    assert measured(run(*records)).throughput_mib_s is None


def test_memory_is_the_high_water_mark_of_each_side():
    found = measured(
        run(memory(1, hwm_kib=100, rss_kib=90), memory(2, hwm_kib=300, rss_kib=80),
            memory(2, SRC, hwm_kib=200))
    )  # fmt: skip
    assert found.memory_kib == {"destination": 300, "source": 200}


@pytest.mark.parametrize("name", ["main-channel", "machine-9.2"])
def test_run_over_the_main_channel_has_the_same_numbers_but_no_channels(name):
    found = measured(rundir.load(GOOD / name))
    assert found.downtime_ms is not None
    assert found.throughput_mib_s is not None
    assert found.device_bytes == 2 * 2**20 + 17
    assert found.channels == {}


def test_state_that_went_ahead_gives_no_throughput():
    found = measured(rundir.load(GOOD / "pre-copy"))
    assert (found.throughput_mib_s, found.downtime_ms) == (None, 9.731)


def test_migration_that_never_began_has_measured_nothing_but_memory():
    found = measured(rundir.load(GOOD / "blocked"))
    assert (found.downtime_ms, found.throughput_mib_s, found.qemu_downtime_ms) == (None, None, None)
    assert found.memory_kib
