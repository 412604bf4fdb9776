"""SET-2: compression and mapped-ram keep device state on the main channel."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto, Transport
from tests.unit.check.histories import (
    UNSUPPORTED,
    completed,
    device,
    find,
    good,
    refused,
    scenario,
)

AUTO = OnOffAuto.AUTO
MAPPED = {"capabilities": {"mapped-ram": True}, "transport": Transport.FILE}
COMPRESSED = [{"parameters": {"multifd-compression": name}} for name in ("zlib", "zstd")]
SETTINGS = [*COMPRESSED, MAPPED]


@pytest.mark.parametrize("fields", SETTINGS)
def test_auto_falls_back(fields):
    run = completed(scenario(device(multifd_transfer=AUTO), **fields), main=("vfio0",))
    assert find(run, "SET-2").outcome is Outcome.VALID


@pytest.mark.parametrize("fields", SETTINGS)
def test_auto_that_does_not_fall_back(fields):
    run = completed(scenario(device(multifd_transfer=AUTO), **fields))
    assert find(run, "SET-2").outcome is Outcome.VIOLATED


@pytest.mark.parametrize("fields", SETTINGS)
def test_on_is_refused(fields):
    assert find(refused(scenario(**fields), UNSUPPORTED), "SET-2").outcome is Outcome.VALID
    accepted = completed(scenario(**fields), main=("vfio0",))
    assert find(accepted, "SET-2").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (good("multifd"), "neither compression nor mapped-ram"),
        (
            completed(scenario(parameters={"multifd-compression": "none"})),
            "neither compression nor mapped-ram",
        ),
    ],
)
def test_not_asked(run, why):
    assert judge(run).not_asked["SET-2"] == why


@pytest.mark.parametrize("transport", [Transport.UNIX, Transport.TCP])
def test_refused_transport_says_nothing_about_the_transfer(transport):
    fields = {"capabilities": {"mapped-ram": True}, "transport": transport}
    run = refused(scenario(**fields), "Migration requires seekable transport (e.g. file)")
    assert "another reason" in judge(run).not_asked["SET-2"]


def test_blocked_device_does_not_get_that_far():
    run = scenario(device(enable_migration=OnOffAuto.OFF), **MAPPED)
    verdict = judge(refused(run, "disabled"))
    assert verdict.not_asked["SET-2"] == "the devices do not get that far: blocked"
