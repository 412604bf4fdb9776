"""What make rig has built, found by its manifest, and what is wrong where it is not."""

import json

import pytest

from harness.errors import PrerequisiteMissing
from harness.rig import image as image_module

MANIFEST = {
    "kernel": "6.12.0-amd64",
    "debian": "6.12.0-1",
    "virtme_ng": "1.42",
    "packages": {"kmod": {"version": "30", "sha256": "00"}},
}


@pytest.fixture
def built(image):
    (image.folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return image


def test_image_is_as_in_the_manifest(built):
    found = image_module.find(built.folder)
    assert found == built
    assert found.vmlinuz.name == "vmlinuz-6.12.0-amd64"


def test_rig_that_is_not_built_is_reported_with_the_command_that_builds_it(tmp_path):
    with pytest.raises(PrerequisiteMissing, match=r"^the rig is not built: run `make rig`$"):
        image_module.find(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"kernel": 6}'])
def test_manifest_that_cannot_be_read_is_named(built, text):
    (built.folder / "manifest.json").write_text(text)
    with pytest.raises(PrerequisiteMissing, match=r"manifest\.json: .*make rig"):
        image_module.find(built.folder)


def test_missing_part_is_named(built):
    built.vmlinuz.unlink()
    with pytest.raises(
        PrerequisiteMissing, match=r"incomplete, .*vmlinuz-6\.12\.0-amd64 is missing"
    ):
        image_module.find(built.folder)
