"""PRE-1 to PRE-3: pre-copy as a device and a kernel of today have it."""

import errno

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.history.device import PrecopyChanged, PrecopyInfoV2, Read, Reinit
from harness.scenario import EmulatedDevice, OnOffAuto, SaveBehaviour, Scenario
from harness.scenario.precopy import PrecopyChange
from harness.vm import builds, fetched

ASKS = (11, 1)
"""The first QEMU that asks for MIG_PRECOPY_INFOv2."""


def precopying(**fields) -> EmulatedDevice:
    """Its stop-copy state is one buffer, which no known deadlock needs."""
    parts = {"precopy_initial_bytes": 100_000, "precopy_dirty_bytes": 300_000, "size": 1000}
    return EmulatedDevice(**{"id": "vfio0", "pre_copy": True, **parts, **fields})


def on_newest(wanted: Scenario) -> Scenario:
    """``wanted`` with a QEMU that asks for MIG_PRECOPY_INFOv2."""
    found = [each for each in fetched.binaries(is_plain=True) if builds.version_of(each) >= ASKS]
    assert found, "no QEMU asks for MIG_PRECOPY_INFOv2: vfio-multifd qemu fetch"
    return msgspec.structs.replace(wanted, qemu=str(found[-1]), qemu_dst=str(found[-1]))


@pytest.mark.requirement("PRE-2")
@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (0, OnOffAuto.ON),
        (errno.ENOTTY, OnOffAuto.ON),
        (errno.EIO, OnOffAuto.ON),
        (errno.EINVAL, OnOffAuto.AUTO),
    ],
    ids=["yes", "ENOTTY", "EIO", "EINVAL, auto"],
)
async def test_each_answer_is_taken_for_what_it_means(judged, kept, answer, setting) -> None:
    device = precopying(precopy_info_v2=answer, enable_migration=setting)
    run = await judged(on_newest(Scenario(name="info-v2", devices=(device,))))
    kept(run, "RUN", "PRE-2", *(() if answer in (0, errno.ENOTTY) else ("SET-8",)))
    records = [each.args for each in run.history.records if isinstance(each.args, PrecopyInfoV2)]
    assert {each.errno for each in records} == {answer}


async def test_error_that_no_qemu_meets_is_not_judged(judged) -> None:
    oldest = fetched.binaries(is_plain=True)[0]
    assert builds.version_of(oldest) < ASKS
    device = precopying(precopy_info_v2=errno.EIO)
    run = await judged(
        Scenario(name="info-v2", qemu=str(oldest), qemu_dst=str(oldest), devices=(device,))
    )
    assert run.verdict.finding("PRE-2") is None
    assert run.verdict.overall is Outcome.UNKNOWN


# -- changes of what there is for pre-copy --------------------------------------------------

ACK = {"switchover-ack": True}


def changing(change: PrecopyChange, **fields) -> Scenario:
    """``switchover-ack`` makes the source read all initial bytes, so the change comes."""
    device = precopying(precopy_changes=(change,), **fields)
    return Scenario(name="change", devices=(device,), capabilities=ACK)


def held(run, type_):
    return [each.args for each in run.history.records if isinstance(each.args, type_)]


@pytest.mark.requirement("PRE-3")
@pytest.mark.parametrize(
    ("change", "total"),
    [
        (PrecopyChange(at=1000, dirty_bytes=70_000), 471_000),
        (PrecopyChange(at=1000, dirty_bytes=-70_000), 331_000),
        (PrecopyChange(at=1000, dirty_bytes=-(1 << 30)), None),
        (PrecopyChange(at=1000, every=100_000, dirty_bytes=50_000), None),
        (PrecopyChange(after_s=0.001, dirty_bytes=70_000), 471_000),
        (PrecopyChange(at_switchover=True, dirty_bytes=70_000), 471_000),
        (PrecopyChange(at=1000, initial_bytes=70_000), 471_000),
    ],
    ids=[
        "grow",
        "shrink",
        "vanish",
        "grow again and again",
        "grow at a time",
        "grow at the stop",
        "ENOTTY",
    ],
)
async def test_nothing_is_lost_or_sent_twice(judged, kept, change, total) -> None:
    reads = SaveBehaviour(read_sizes=(50_000,), read_delay_s=0.002)
    run = await judged(changing(change, save=reads))
    kept(run, "RUN", "PRE-3", "ORD-1")
    assert held(run, PrecopyChanged)
    if total is not None:
        assert sum(read.got for read in held(run, Read)) == total


@pytest.mark.requirement("PRE-1")
async def test_new_initial_bytes_are_acknowledged_again(judged, kept) -> None:
    change = PrecopyChange(at=1000, initial_bytes=200_000)
    run = await judged(on_newest(changing(change, precopy_info_v2=0)))
    kept(run, "RUN", "PRE-1", "PRE-2", "PRE-3", "ORD-1")
    assert run.verdict.finding("PRE-1").numbers["reinits"] == 1


@pytest.mark.requirement("PRE-1")
async def test_new_initial_bytes_once_the_switchover_is_decided_fail_it(judged, kept) -> None:
    change = PrecopyChange(at_check=True, initial_bytes=200_000)
    run = await judged(on_newest(changing(change, precopy_info_v2=0)))
    kept(run, "RUN", "PRE-1")
    assert held(run, Reinit)


@pytest.mark.requirement("PRE-1")
async def test_initial_bytes_are_acknowledged_by_an_older_qemu(judged, kept) -> None:
    run = await judged(Scenario(name="ack", devices=(precopying(),), capabilities=ACK))
    kept(run, "RUN", "PRE-1")
