"""Answers to MIG_PRECOPY_INFOv2: which of them block a migration."""

import errno

import msgspec
import pytest

from harness.history import Side
from harness.model import info_v2
from harness.model.expectation import Ending
from harness.scenario import OnOffAuto, PciDevice
from harness.scenario.precopy import PrecopyChange
from tests.unit.model.test_expectation import FACTS, device, expected

ON, AUTO = OnOffAuto.ON, OnOffAuto.AUTO
NEWEST = msgspec.structs.replace(FACTS, version=(11, 1, 3))


@pytest.mark.parametrize(
    ("answer", "setting", "sides", "ending", "refused_by"),
    [
        (0, ON, (NEWEST, NEWEST), Ending.COMPLETED, None),
        (errno.ENOTTY, ON, (NEWEST, NEWEST), Ending.COMPLETED, None),
        (errno.EIO, ON, (NEWEST, NEWEST), Ending.LAUNCH_REFUSED, None),
        (errno.EIO, AUTO, (NEWEST, NEWEST), Ending.BLOCKED, Side.SOURCE),
        (errno.EIO, AUTO, (NEWEST, FACTS), Ending.BLOCKED, Side.SOURCE),
        (errno.EIO, AUTO, (FACTS, NEWEST), Ending.NOT_JUDGED, None),
        (errno.EIO, ON, (FACTS, FACTS), Ending.COMPLETED, None),
    ],
)
def test_error_of_precopy_info_v2_is_that_of_a_device_that_cannot_migrate(
    answer, setting, sides, ending, refused_by
):
    spec = device(pre_copy=True, precopy_info_v2=answer, enable_migration=setting)
    found = expected(spec, source=sides[0], destination=sides[1])
    assert (found.ending, found.refused_by) == (ending, refused_by)
    if ending in (Ending.LAUNCH_REFUSED, Ending.BLOCKED):
        assert found.reasons == (info_v2.FAILED,)


def test_device_without_pre_copy_is_not_asked():
    assert not info_v2.fails(device(precopy_info_v2=errno.EIO), NEWEST)
    assert not info_v2.fails(PciDevice(id="a", source="0000:01:00.0"), NEWEST)


@pytest.mark.parametrize(
    ("change", "fields", "source", "ending"),
    [
        (PrecopyChange(at_check=True, initial_bytes=9), {}, NEWEST, Ending.REINIT_LATE),
        (PrecopyChange(after_s=1, initial_bytes=9), {}, NEWEST, Ending.REINIT_LATE),
        (PrecopyChange(at=1, initial_bytes=9), {}, NEWEST, Ending.COMPLETED),
        (PrecopyChange(at_check=True, dirty_bytes=9), {}, NEWEST, Ending.COMPLETED),
        (PrecopyChange(at_check=True, initial_bytes=9), {}, FACTS, Ending.COMPLETED),
        (
            PrecopyChange(at_check=True, initial_bytes=9),
            {"precopy_info_v2": errno.ENOTTY},
            NEWEST,
            Ending.COMPLETED,
        ),
    ],
)
def test_new_initial_bytes_may_come_too_late(change, fields, source, ending):
    spec = device(pre_copy=True, **{"precopy_info_v2": 0, "precopy_changes": (change,), **fields})
    acked = expected(spec, source=source, capabilities={"switchover-ack": True})
    assert acked.ending is ending
    assert acked.devices[0].total_bytes is None
    assert expected(spec, source=source).ending is Ending.COMPLETED
