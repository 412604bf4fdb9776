"""SET-10 and ORD-9: a destination that is given something else than the source.

Differences that QEMU hangs on or accepts are findings (``vfio-multifd repro``).
"""

from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.scenario import EmulatedDevice, OnOffAuto, Scenario
from harness.scenario.main_job import SCENARIOS

SMALL = 1 << 16
OVER_MAIN = EmulatedDevice(id="vfio0", size=SMALL, multifd_transfer=OnOffAuto.OFF)
MAIN_ALONE = {"multifd": False, "devices": (OVER_MAIN,)}


def _scenario(there: dict[str, Any], **fields: Any) -> Scenario:
    defaults = {"name": "sides", "devices": (EmulatedDevice(id="vfio0", size=SMALL),)}
    return Scenario(**{**defaults, "destination": there, **fields})


def _at_the_device(**fields: Any) -> dict[str, Any]:
    return {"devices": [{"id": "vfio0", **fields}]}


@pytest.mark.requirement("SET-10")
@pytest.mark.parametrize(
    ("there", "fields", "words"),
    [
        ({"machine": "pc"}, MAIN_ALONE, "refused on both sides"),
        ({"return_path": False}, {}, "it completed"),
        (_at_the_device(multifd_transfer="on"), {"devices": (OVER_MAIN,)}, "refused on both sides"),
        (
            {"parameters": {"multifd-compression": "zlib"}},
            {"devices": (OVER_MAIN,)},
            "refused on both sides",
        ),
        ({"parameters": {"zero-page-detection": "legacy"}}, {}, "it completed"),
        ({"capabilities": {"switchover-ack": True}}, {}, "it completed"),
        ({"ram_mib": 512}, {}, "refused on both sides"),
    ],
    ids=[
        "machine",
        "return path",
        "transfer",
        "compression",
        "zero pages",
        "switchover-ack",
        "RAM",
    ],
)
async def test_settings_that_differ(judged, kept, there, fields, words) -> None:
    run = await judged(_scenario(there, **fields))
    kept(run, "RUN", "SET-10")
    assert words in run.verdict.finding("SET-10").sentence


@pytest.mark.requirement("ORD-9")
@pytest.mark.parametrize(
    ("there", "fields"),
    [
        (_at_the_device(vendor_id=0x4321), {}),
        (_at_the_device(device_id=0x4321), {}),
        (
            _at_the_device(vendor_capability="010204"),
            {"vendor_capability": "010203", "properties": {"skip-vsc-check": False}},
        ),
        (_at_the_device(vendor_capability="01"), {"properties": {"skip-vsc-check": False}}),
    ],
    ids=["vendor", "device", "vendor capability", "one vendor capability more"],
)
async def test_other_device_is_refused(judged, kept, there, fields) -> None:
    device = EmulatedDevice(id="vfio0", size=SMALL, multifd_transfer=OnOffAuto.OFF, **fields)
    run = await judged(_scenario(there, devices=(device,), multifd=False))
    kept(run, "RUN", "ORD-9", "LIF-9")


@pytest.mark.requirement("ORD-9")
async def test_device_that_is_missing_is_refused(judged, kept) -> None:
    devices = (OVER_MAIN, EmulatedDevice(id="vfio1", size=1, multifd_transfer=OnOffAuto.OFF))
    run = await judged(_scenario(_at_the_device(), devices=devices, multifd=False))
    kept(run, "RUN", "ORD-9", "LIF-9")
    assert "/vfio" in run.verdict.finding("ORD-9").numbers["said"]


async def test_vendor_capability_that_qemu_does_not_compare_is_not_judged(judged) -> None:
    device = EmulatedDevice(id="vfio0", size=SMALL, vendor_capability="010203")
    run = await judged(_scenario(_at_the_device(vendor_capability="010204"), devices=(device,)))
    assert run.verdict.overall is Outcome.UNKNOWN
    assert run.verdict.finding("ORD-9") is None


def test_main_job_has_both() -> None:
    assert {each.name for each in SCENARIOS if each.destination is not None} == {
        "other-machine",
        "other-device",
    }
