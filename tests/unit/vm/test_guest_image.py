"""The guest's image, by what its recipe leaves."""

import pytest

from harness.errors import PrerequisiteMissing
from harness.vm import guest_image


@pytest.fixture
def built(tmp_path):
    for name in ("manifest.json", "vmlinuz", "initrd"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_its_parts_are_found(built):
    image = guest_image.find(built)
    assert image.kernel == built / "vmlinuz"
    assert image.initrd == built / "initrd"


def test_options_boot_it_with_a_serial_console(built):
    options = guest_image.find(built).options(2048)
    assert options[:4] == ["-kernel", str(built / "vmlinuz"), "-initrd", str(built / "initrd")]
    assert options[4:] == ["-append", "console=ttyS0 quiet memory_kib=2048"]


def test_guest_that_is_not_built_is_named_with_the_way_to_build_it(tmp_path):
    with pytest.raises(PrerequisiteMissing, match=r"the guest is not built: make guest"):
        guest_image.find(tmp_path)


@pytest.mark.parametrize("part", ["vmlinuz", "initrd"])
def test_part_that_is_missing_is_named(built, part):
    (built / part).unlink()
    words = rf"{part}: the guest is not whole: remove .*, make guest"
    with pytest.raises(PrerequisiteMissing, match=words):
        guest_image.find(built)
