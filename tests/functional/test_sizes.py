"""PRE-4: devices that misreport their sizes."""

import errno

import pytest

from harness.history.device import SizeAnswer
from harness.scenario import MIB, EmulatedDevice, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Target, When
from harness.scenario.misreports import UINT64_MAX, Misreport, Query
from tests.functional.test_versions import of_each_version

pytest_generate_tests = of_each_version
DATA, INFO = Query.DATA_SIZE, Query.PRECOPY_INFO
LITTLE = {"downtime-limit": 300, "avail-switchover-bandwidth": 1 << 30}
"""Parameters with which the switchover may leave some 300 MB."""


def misreporting(*misreports: Misreport, **fields) -> EmulatedDevice:
    """Its pre-copy takes longer than the 100 ms in which QEMU 10.0 does not ask for sizes."""
    wanted = {
        "size": 1000,
        "precopy_initial_bytes": 3 * MIB,
        "precopy_dirty_bytes": MIB,
        "save": SaveBehaviour(read_delay_s=0.05),
        **fields,
    }
    return EmulatedDevice(id="vfio0", pre_copy=True, misreports=misreports, **wanted)


def answers(run) -> list[SizeAnswer]:
    return [r.args for r in run.history.records if isinstance(r.args, SizeAnswer)]


@pytest.mark.requirement("PRE-4")
@pytest.mark.parametrize(
    "misreports",
    [
        (Misreport(query=DATA, calls=1, errno=errno.EIO),),
        (
            Misreport(query=DATA, first=2, calls=1, errno=errno.EINVAL),
            Misreport(query=INFO, first=2, calls=1, errno=errno.ENODEV),
        ),
        (Misreport(query=INFO, initial_bytes=UINT64_MAX, dirty_bytes=1),),
        (
            Misreport(query=DATA, first=2, calls=2, stop_copy_length=1 << 62),
            Misreport(query=DATA, first=4, calls=2, stop_copy_length=(1 << 63) - 1),
            Misreport(query=DATA, first=6, stop_copy_length=1),
        ),
    ],
    ids=["at set-up", "once", "overflow", "grows and shrinks"],
)
async def test_wrong_sizes_do_not_keep_a_migration_from_its_end(
    judged, kept, qemu, misreports
) -> None:
    devices = (misreporting(*misreports),)
    run = await judged(Scenario(name="sizes", devices=devices, qemu=qemu, qemu_dst=qemu))
    kept(run, "PRE-4")
    kept(run, "ORD-1")
    assert any(each.planned for each in answers(run))


@pytest.mark.requirement("PRE-4")
@pytest.mark.parametrize(
    "misreport",
    [
        Misreport(query=DATA, first=2, errno=errno.EIO),
        Misreport(query=DATA, first=2, stop_copy_length=1 << 62),
    ],
    ids=["fails", "too large"],
)
async def test_pre_copy_does_not_end_with_a_size_that_does_not_fit(judged, kept, misreport) -> None:
    """It goes on until it is cancelled, once the source has asked four times in vain."""
    device = misreporting(misreport)
    wrong = When(kind="device", name="size_answer", args={"planned": True}, count=4)
    cancel = Execute(when=wrong, target=Target.SOURCE, command="migrate_cancel")
    run = await judged(
        Scenario(name="sizes", devices=(device,), parameters=LITTLE, actions=(cancel,))
    )
    kept(run, "PRE-4")
    assert run.verdict.finding("PRE-4").sentence.endswith(", and pre-copy went on")
