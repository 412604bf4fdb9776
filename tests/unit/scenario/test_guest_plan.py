"""Which guest a scenario has, and what it needs."""

import pytest

from harness.scenario import EmulatedDevice, MdevDevice
from harness.scenario.guest_plan import Guest, GuestKind

EMULATED, MDEV = EmulatedDevice(id="a"), MdevDevice(id="b")


@pytest.mark.parametrize(
    ("kind", "devices", "is_linux"),
    [
        (GuestKind.AUTO, (), True),
        (GuestKind.AUTO, (EMULATED,), True),
        (GuestKind.AUTO, (EMULATED, MDEV), False),
        (GuestKind.LINUX, (MDEV,), True),
        (GuestKind.FIRMWARE, (EMULATED,), False),
    ],
)
def test_auto_is_a_linux_unless_there_is_a_device_of_the_rig(kind, devices, is_linux):
    assert Guest(kind=kind).is_linux(devices) is is_linux


@pytest.mark.parametrize(
    ("memory_kib", "ram_mib", "has_linux", "words"),
    [
        (4096, 128, True, []),
        (65536, 128, True, []),
        (65537, 128, True, ["memory_kib is 65537, not 1 to 65536 (64 MiB are Linux's)"]),
        (4096, 127, True, ["ram_mib is 127: a Linux guest needs 128 or more"]),
        (15 << 10, 16, False, []),
        (16 << 10, 16, False, ["memory_kib is 16384, not 1 to 15360 (the first MiB is its own)"]),
        (2048 << 10, 4096, False, ["memory_kib is 2097152, not 1 to 2096128"]),
        (0, 16, False, ["memory_kib is 0, not 1 to 15360"]),
    ],
)
def test_its_memory_must_fit(memory_kib, ram_mib, has_linux, words):
    needs = Guest(memory_kib=memory_kib).needs(ram_mib, has_linux=has_linux)
    wrong = [message for is_right, message in needs if not is_right]
    assert len(wrong) == len(words)
    for message, expected in zip(wrong, words, strict=True):
        assert expected in message
