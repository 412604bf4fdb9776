"""Which arcs of a device that fail a migration comes to."""

import pytest

from harness.model.expectation import Ending, expect
from harness.scenario import (
    EmulatedDevice,
    Given,
    MigrationState,
    RefusedArc,
    Scenario,
    WrongDataFd,
)
from tests.unit.check.story import FACTS


@pytest.mark.parametrize(
    ("side", "to", "fields", "ending"),
    [
        ("source", "STOP_COPY", {}, Ending.DEVICE_ERROR),
        ("source", "STOP_COPY", {"pre_copy": True}, Ending.DEVICE_ERROR),
        ("source", "PRE_COPY", {"pre_copy": True}, Ending.DEVICE_ERROR),
        ("source", "PRE_COPY", {}, Ending.NOT_JUDGED),
        ("source", "RESUMING", {}, Ending.NOT_JUDGED),
        ("source", "STOP", {}, Ending.NOT_JUDGED),
        ("destination", "RESUMING", {}, Ending.DEVICE_ERROR),
        ("destination", "STOP_COPY", {}, Ending.NOT_JUDGED),
        ("destination", "RUNNING", {}, Ending.NOT_JUDGED),
    ],
)
def test_refused_arc_is_a_device_error_if_each_migration_takes_it(side, to, fields, ending):
    refuses = (RefusedArc(side=side, to=MigrationState(to)),)
    specs = (EmulatedDevice(id="a", refuses=refuses, **fields),)
    found = expect(Scenario(name="x", devices=specs), FACTS, FACTS)
    assert found.ending is ending
    assert found.refused_by == (side if ending is Ending.DEVICE_ERROR else None)
    if ending is Ending.NOT_JUDGED:
        assert found.reasons == (f"devices[0].refuses {to} at the {side}",)


@pytest.mark.parametrize(
    ("side", "to", "gives", "fields", "ending"),
    [
        ("source", "STOP_COPY", "none", {}, Ending.DEVICE_ERROR),
        ("source", "PRE_COPY", "none", {"pre_copy": True}, Ending.DEVICE_ERROR),
        ("source", "STOP_COPY", "none", {"pre_copy": True}, Ending.NOT_JUDGED),
        ("source", "STOP", "none", {}, Ending.NOT_JUDGED),
        ("source", "STOP", "extra", {}, Ending.DEVICE_ERROR),
        ("source", "STOP", "extra", {"pre_copy": True}, Ending.NOT_JUDGED),
        ("source", "STOP_COPY", "extra", {"pre_copy": True}, Ending.DEVICE_ERROR),
        ("source", "STOP_COPY", "extra", {}, Ending.NOT_JUDGED),
        ("source", "RUNNING_P2P", "extra", {}, Ending.NOT_JUDGED),
        ("destination", "RESUMING", "none", {}, Ending.DEVICE_ERROR),
        ("destination", "RESUMING", "none", {"size": 0}, Ending.NOT_JUDGED),
        ("destination", "RESUMING", "extra", {}, Ending.NOT_JUDGED),
        ("destination", "RUNNING", "extra", {}, Ending.NOT_JUDGED),
    ],
)
def test_wrong_data_fd_is_a_device_error_if_each_migration_comes_to_it(
    side, to, gives, fields, ending
):
    data_fds = (WrongDataFd(side=side, to=MigrationState(to), gives=Given(gives)),)
    specs = (EmulatedDevice(id="a", data_fds=data_fds, **fields),)
    found = expect(Scenario(name="x", devices=specs), FACTS, FACTS)
    assert found.ending is ending
    assert found.refused_by == (side if ending is Ending.DEVICE_ERROR else None)
