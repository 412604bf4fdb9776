"""The rig's functions of ivshmem; what the other kernel devices say is in ``test_devices``."""

import msgspec
import pytest

from harness.scenario import Abilities, DriverParameters, IvshmemDevice, Scenario

IVSHMEM = IvshmemDevice(id="a")


def test_ivshmem_is_the_rigs_pair_of_that_number():
    pairs = [IvshmemDevice.from_argument("", f"vfio{number}", number) for number in range(2)]
    assert [pair.addresses for pair in pairs if pair] == [
        ("0000:00:12.0", "0000:00:13.0"),
        ("0000:00:14.0", "0000:00:15.0"),
    ]
    assert [pair.seed for pair in pairs if pair] == [1, 2]
    given = IvshmemDevice.from_argument("3b:00.2,3b:00.3", "a", 1)
    assert given == msgspec.structs.replace(
        IVSHMEM, source="3b:00.2", destination="3b:00.3", seed=2
    )
    assert IvshmemDevice.from_argument("3b:00.2", "a", 0) is None


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({}, (32 + 4096, 0)),
        ({"precopy_initial_bytes": 100}, (32 + 4096, 0)),
        ({"pre_copy": True}, (32 + 4096, 32)),
        ({"pre_copy": True, "precopy_initial_bytes": 100}, (132 + 4096, 132)),
        ({"pre_copy": True, "precopy_initial_bytes": 5000}, (32 + 2 * 4096, 32 + 4096)),
    ],
)
def test_state_of_ivshmem_is_a_header_and_its_memory(fields, sizes):
    device = IvshmemDevice(id="a", size=4096, **fields)
    assert (device.total_size, device.precopy_size) == sizes
    assert device.mig_data_size == device.total_size
    assert device.abilities == Abilities(pre_copy="pre_copy" in fields)


def test_errors_are_those_of_the_side_that_reads_or_writes():
    failing = DriverParameters(read_error_at=5, write_error_at=6)
    source = IvshmemDevice(id="a", at_source=failing)
    destination = IvshmemDevice(id="a", at_destination=failing)
    assert (source.read_error_at, source.write_error_at) == (5, None)
    assert (destination.read_error_at, destination.write_error_at) == (None, 6)
    assert IVSHMEM.read_error_at is IVSHMEM.write_error_at is None


def test_ivshmem_takes_any_seed_and_has_its_own_size():
    assert IVSHMEM.with_state(None, 8).seed == 8
    with pytest.raises(ValueError, match="--size is for emulated devices"):
        IVSHMEM.with_state(7, None)
    with pytest.raises(ValueError, match="destination is empty"):
        Scenario(name="x", devices=(msgspec.structs.replace(IVSHMEM, destination=""),))
