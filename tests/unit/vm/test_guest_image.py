"""The guest's image, by what its recipe leaves."""

import pytest

from harness.errors import PrerequisiteMissing
from harness.vm import guest_image


@pytest.fixture
def built(tmp_path):
    for name in ("manifest.json", "vmlinuz", "initrd"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "firmware.bin").write_bytes(bytes(range(256)) * 256)
    return tmp_path


def test_its_parts_are_found(built):
    image = guest_image.find(built)
    assert image.kernel == built / "vmlinuz"
    assert image.initrd == built / "initrd"


def test_options_boot_it_with_a_serial_console(built):
    options = guest_image.find(built).options(2048)
    assert options[:4] == ["-kernel", str(built / "vmlinuz"), "-initrd", str(built / "initrd")]
    assert options[4:] == ["-append", "console=ttyS0 quiet no_timer_check memory_kib=2048"]


def test_guest_that_is_not_built_is_named_with_the_way_to_build_it(tmp_path):
    with pytest.raises(PrerequisiteMissing, match=r"the guest is not built: make guest"):
        guest_image.find(tmp_path)


def test_firmware_is_told_its_memory_and_is_else_as_built(built):
    image = guest_image.firmware(0x01020304, built)
    as_built = (built / "firmware.bin").read_bytes()
    at = as_built.rindex(b"\xec\xed\xee\xef")
    assert image == as_built[:at] + b"\x04\x03\x02\x01" + as_built[at + 4 :]
    assert at == guest_image.FIRMWARE_SIZE - 20, "four bytes before the reset vector"


def test_firmware_that_is_not_built_is_named(built):
    (built / "firmware.bin").write_bytes(b"short")
    with pytest.raises(PrerequisiteMissing, match=r"firmware.bin: the guest is incomplete: remove"):
        guest_image.firmware(64, built)
    (built / "manifest.json").unlink()
    with pytest.raises(PrerequisiteMissing, match=r"the guest is not built: make guest"):
        guest_image.firmware(64, built)


@pytest.mark.parametrize("part", ["vmlinuz", "initrd"])
def test_part_that_is_missing_is_named(built, part):
    (built / part).unlink()
    words = rf"{part}: the guest is incomplete: remove .*, make guest"
    with pytest.raises(PrerequisiteMissing, match=words):
        guest_image.find(built)
