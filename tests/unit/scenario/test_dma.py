"""What a device writes by DMA, as a scenario says it."""

import pytest

from harness.errors import UsageError
from harness.scenario import EmulatedDevice, Scenario, from_json, to_json
from harness.scenario.dma import PAGE, Dma, Reports
from harness.scenario.guest_plan import Guest

MIB = 1 << 20


def scenario(*devices: EmulatedDevice, **fields) -> Scenario:
    return Scenario(name="dma", devices=devices, **fields)


def device(**fields) -> EmulatedDevice:
    return EmulatedDevice(id="a", dma=Dma(**fields))


def test_survives_json():
    one = scenario(device(pages=3, omits=(2,), report_errno=5, reports=Reports.LAST))
    assert from_json(to_json(one)) == one


def test_old_scenario_has_no_dma():
    text = b'{"name": "old", "devices": [{"kind": "emulated", "id": "a"}]}'
    (found,) = from_json(text).emulated
    assert not found.dma.is_used
    assert found.dma.addresses == ()


def test_addresses_are_a_stride_apart():
    dma = Dma(pages=3, at=8 * MIB, stride=5)
    assert dma.addresses == (8 * MIB, 8 * MIB + 5 * PAGE, 8 * MIB + 10 * PAGE)


def test_omitted_pages_are_addresses():
    assert Dma(pages=3, omits=(1,)).omitted == {4 * MIB + PAGE}


def test_copies_write_other_pages():
    first = device(pages=3, stride=7)
    copies = [first, *(first.copy(f"b{n}", n) for n in (1, 2))]
    pages = [page for each in copies for page in each.dma.addresses]
    assert len(set(pages)) == 9
    assert scenario(*copies)


@pytest.mark.parametrize(
    ("devices", "fields", "words"),
    [
        ((device(pages=2, omits=(2,)),), {}, "a: dma.omits has pages that it does not write"),
        (
            (device(start_errno=5, stop_errno=5),),
            {},
            "a: dma.start_errno, stop_errno: with pages 0",
        ),
        ((device(pages=2, stride=1 << 16),), {}, "beyond RAM of 64 MiB"),
        ((device(pages=1), EmulatedDevice(id="b", dma=Dma(pages=1))), {}, "the same page"),
        ((device(pages=1),), {"guest": Guest()}, "a guest has in its RAM"),
    ],
)
def test_what_cannot_be_is_refused(devices, fields, words):
    with pytest.raises(ValueError, match=words):
        scenario(*devices, **fields)


@pytest.mark.parametrize("field", ['"at": 4097', '"at": 4096', '"pages": 1025', '"reports": "x"'])
def test_value_out_of_range_is_refused(field):
    text = f'{{"name": "x", "devices": [{{"kind": "emulated", "id": "a", "dma": {{{field}}}}}]}}'
    with pytest.raises(UsageError):
        from_json(text.encode())


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({}, False),
        ({"stop_errno": 5}, False),
        ({"start_errno": 5}, True),
        ({"report_errno": 5}, True),
        ({"max_ranges": 1}, True),
    ],
)
def test_what_may_end_a_migration(fields, fails):
    assert Dma(**fields).fails is fails
