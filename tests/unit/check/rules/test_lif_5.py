"""LIF-5: a device that fails a read or a write fails the migration, and is named."""

import errno

import msgspec
import pytest

from harness.check.hang import RECV_END, RECV_SYNC_WAIT
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind
from harness.history.device import Read, Write
from harness.history.process import Stderr
from harness.history.wire import Fault
from harness.scenario import LoadBehaviour, SaveBehaviour
from tests.unit.check.histories import completed, find
from tests.unit.check.lives import STOPPED, Life
from tests.unit.check.story import DST, SRC, device, scenario

READ = device(save=SaveBehaviour(error_at=100))
WRITE = device(load=LoadBehaviour(error_at=100))
NAMED = "vfio0: writing state buffer 0 failed: 5"


def fails(side) -> Life:
    """The device of ``side`` fails a call."""
    call, spec = (Read, READ) if side is SRC else (Write, WRITE)
    life = Life(scenario(spec), ("setup", "active", "device"))
    life.put(side, call(offset=100, asked=9, got=0, errno=5), "vfio0")
    return life


def both_fail(side, said: str = NAMED) -> Life:
    life = fails(side)
    life.status(SRC, "failed")
    life.status(DST, "active", "failed")
    life.qmp(side, "query-migrate", {"status": "failed", "error-desc": said})
    return life


def verdict(life: Life):
    life.quit(SRC)
    life.quit(DST)
    return find(life.history(), "LIF-5")


@pytest.mark.parametrize("side", [SRC, DST])
def test_both_sides_fail_and_the_source_runs_on(side):
    life = both_fail(side)
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"said": NAMED}


@pytest.mark.parametrize("said", [
    "VFIO_FD9: writing state buffer 0 failed: 5",
    "error while loading state section id 37(0000:00:02.0/vfio)",
])  # fmt: skip
def test_device_has_three_names(said):
    life = both_fail(DST, said)
    life.add(DST, Kind.TRACE, "vfio_load_bufs_thread_start", "vfio0", name="VFIO_FD9")
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VALID


def test_device_without_an_error_is_not_asked():
    assert judge(completed(scenario())).not_applicable["LIF-5"] == "no device fails"


def test_device_that_was_not_seen_to_fail_is_unknown():
    finding = find(completed(scenario(READ)), "LIF-5")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no device was seen to fail" in finding.sentence


def test_error_that_names_nobody():
    life = both_fail(DST, "Input/output error")
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert 'does not name it: "Input/output error"' in finding.sentence


def test_name_that_the_other_side_says_does_not_count():
    life = both_fail(DST, "Input/output error")
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": NAMED})
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VIOLATED


def test_no_error_text_is_unknown():
    life = both_fail(DST, "")
    assert "reported no reason for its failure" in verdict(life).sentence


@pytest.mark.parametrize("side", [SRC, DST])
def test_side_that_reports_completed(side):
    life = fails(DST)
    other = DST if side is SRC else SRC
    life.status(side, "completed")
    life.status(other, "failed")
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert f"the {side} reports the migration completed" in finding.sentence


def without_return_path(side, said: str = NAMED):
    """The device of ``side`` fails; the source completes, to which nothing reports the failure."""
    life = fails(side)
    life.scenario = msgspec.structs.replace(life.scenario, return_path=False)
    life.status(DST, "active", "failed")
    life.qmp(side, "query-migrate", {"status": "failed", "error-desc": said})
    life.status(SRC, "completed")
    return verdict(life)


def test_end_of_the_stream_may_come_before_the_destination_names_its_device():
    """Without a return path the source ends by itself; with one it waits for the destination."""
    words = "Unexpected end-of-file before all data were read"
    finding = without_return_path(DST, words)
    assert finding.outcome is Outcome.UNKNOWN
    assert "may be about the end of the stream" in finding.sentence
    life = both_fail(DST, words)
    life.add(DST, Kind.TRACE, "vfio_load_bufs_thread_start", "vfio0", name="VFIO_FD9")
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VIOLATED


def test_source_may_complete_where_no_return_path_reports_the_failure():
    finding = without_return_path(DST)
    assert finding.outcome is Outcome.VALID
    assert "no return path" in finding.sentence


@pytest.mark.parametrize(("side", "said"), [(SRC, NAMED), (DST, "Input/output error")])
def test_without_a_return_path_the_own_failure_is_known_and_the_device_is_named(side, said):
    assert without_return_path(side, said).outcome is Outcome.VIOLATED


def test_source_that_does_not_run_on():
    life = both_fail(SRC)
    life.asked(SRC, STOPPED)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "does not run" in finding.sentence


@pytest.mark.parametrize(("side", "signal", "status"), [(SRC, 0, 1), (DST, 6, -1)])
def test_qemu_that_dies(side, signal, status):
    life = both_fail(DST)
    life.died(side, signal, status)
    finding = find(life.history(), "LIF-5")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the {side}'s QEMU ended" in finding.sentence


def test_destination_may_exit():
    life = both_fail(DST)
    life.asked(SRC)
    life.quit(SRC)
    life.died(DST, signal=0, status=1)
    assert find(life.history(), "LIF-5").outcome is Outcome.VALID


def test_side_that_hangs():
    life = fails(DST)
    life.status(SRC, "failed")
    life.hangs(DST)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "the destination did not end" in finding.sentence


def test_side_that_hangs_is_named_and_not_the_one_that_has_ended():
    life = fails(SRC)
    life.status(SRC, "failed")
    life.status(DST, "active")
    life.hangs(SRC)
    life.hangs(DST)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "and the destination did not end" in finding.sentence
    assert finding.shape == "destination-did-not-end"


def test_hang_says_who_waits_for_what():
    life = fails(SRC)
    life.add(DST, Kind.TRACE, RECV_END, id=2, packets=3)
    life.trace(DST, RECV_SYNC_WAIT, id=2)
    life.status(SRC, "failed")
    life.status(DST, "active")
    life.hangs(DST)
    finding = verdict(life)
    assert "the destination did not end: the destination's main thread waits" in finding.sentence
    assert finding.shape == "recv-sync-waits-for-ended-channel"


def test_side_that_told_no_end_is_unknown():
    life = fails(SRC)
    life.status(DST, "failed")
    assert verdict(life).outcome is Outcome.UNKNOWN


def test_source_that_nobody_asked_is_unknown():
    assert "was not checked" in verdict(both_fail(SRC)).sentence


def test_source_that_does_not_answer():
    life = both_fail(SRC)
    life.silent(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "the source does not answer" in finding.sentence


# -- what counts as naming it ------------------------------------------------------------

WARNING = "qemu: -device vfio-pci,id=vfio0,addr=0x2: warning: VFIO dma-buf not supported"


def test_warning_at_start_up_is_no_error_that_names_it():
    life = both_fail(DST, "Input/output error")
    life.asked(SRC)
    life.put(DST, Stderr(line=WARNING))
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert 'does not name it: "Input/output error"' in finding.sentence


def test_error_from_before_the_failure_does_not_name_it():
    life = both_fail(DST, "Input/output error")
    life.asked(SRC)
    life.put(DST, Stderr(line="1999-01-01T00:00:00Z qemu: vfio0: no"))
    assert verdict(life).outcome is Outcome.VIOLATED


def test_line_that_may_be_older_is_unknown():
    life = both_fail(DST, "Input/output error")
    life.asked(SRC)
    life.put(DST, Stderr(line="vfio0: no"))
    assert "named it is not known" in verdict(life).sentence


def test_refusal_of_another_command_does_not_name_it():
    life = both_fail(DST, "Input/output error")
    life.qmp(DST, "device_del", error="vfio0 cannot be unplugged")
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VIOLATED


def test_name_inside_of_another_name_does_not_count():
    life = both_fail(DST, "vfio01: writing state buffer 0 failed: 5")
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VIOLATED


def test_name_that_the_trace_never_had_leaves_it_unknown():
    life = both_fail(DST, "VFIO_FD9: writing state buffer 0 failed: 5")
    life.asked(SRC)
    life.records = [record for record in life.records if record.kind is not Kind.TRACE]
    assert "was not seen" in verdict(life).sentence


def test_error_may_be_about_a_fault_before_it():
    life = both_fail(DST, "Channel error")
    life.put(SRC, Fault(fault="drop", position=0, what=""), t=life.records[0].t_ns)
    life.asked(SRC)
    assert "about the fault before it" in verdict(life).sentence


def test_either_of_two_devices_that_failed_may_be_named():
    spec = device("vfio1", save=SaveBehaviour(error_at=100))
    life = Life(scenario(READ, spec), ("setup", "active", "device"))
    for name in ("vfio0", "vfio1"):
        life.put(SRC, Read(offset=100, asked=9, got=0, errno=5), name)
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "vfio1: reading failed: 5"})
    life.asked(SRC)
    assert verdict(life).outcome is Outcome.VALID


# -- what is a failure -------------------------------------------------------------------


def test_end_of_pre_copy_is_no_failure():
    """The destination's write is the subject, though the source read ENOMSG before."""
    life = Life(scenario(WRITE), ("setup", "active", "device"))
    enomsg = {"offset": 64, "asked": 9, "got": 0, "errno": errno.ENOMSG}
    life.put(SRC, Read(**enomsg), "vfio0")
    life.put(DST, Write(offset=100, asked=9, got=0, errno=errno.EIO), "vfio0")
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.qmp(DST, "query-migrate", {"status": "failed", "error-desc": NAMED})
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert "vfio0 failed a write at byte 100" in finding.sentence


def test_end_of_pre_copy_alone_is_unknown():
    life = Life(scenario(READ), ("setup", "active", "device"))
    enomsg = {"offset": 64, "asked": 9, "got": 0, "errno": errno.ENOMSG}
    life.put(SRC, Read(**enomsg), "vfio0")
    assert "no device was seen to fail" in verdict(life).sentence
