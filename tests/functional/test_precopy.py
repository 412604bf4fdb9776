"""PRE-1 to PRE-3: pre-copy as a device and a kernel of today have it."""

import errno

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.history.device import PrecopyInfoV2
from harness.scenario import EmulatedDevice, OnOffAuto, Scenario
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
