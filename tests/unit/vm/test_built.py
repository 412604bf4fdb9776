"""Builds from source: their names, and what the recipe is asked for."""

import subprocess

import pytest

from harness.errors import PrerequisiteMissing, UsageError
from harness.vm import builds, built, fetched
from harness.vm.built import RECIPE, VARIANTS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(fetched, "CACHE", folder)
    return folder


@pytest.fixture
def patch(tmp_path):
    path = tmp_path / "no check.patch"
    path.write_text("")
    return path


def test_name_says_version_variant_and_patch(patch):
    assert built.name_of("10.2.2") == "10.2.2"
    assert built.name_of("10.2.2", "asan") == "10.2.2-asan"
    assert built.name_of("10.2.2", "plain", patch) == "10.2.2-no-check"
    assert built.name_of("10.2.2", "gcov", patch) == "10.2.2-gcov-no-check"


@pytest.mark.parametrize(
    ("version", "variant", "why"),
    [
        ("10.2", "plain", "10.2: not a version like 10.2.2"),
        ("../x", "plain", "../x: not a version like 10.2.2"),
        ("10.2.2", "msan", "msan: no such variant; there are: plain, gcov, asan, tsan"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_done(cache, version, variant, why):
    with pytest.raises(UsageError) as refused:
        built.build(version, variant)
    assert str(refused.value) == f"qemu build: {why}"
    assert not cache.exists()


def test_patch_must_be_there_and_not_be_called_like_a_variant(tmp_path):
    with pytest.raises(UsageError, match="there is no such patch"):
        built.name_of("10.2.2", "plain", tmp_path / "x.patch")
    (tmp_path / "asan.patch").touch()
    with pytest.raises(UsageError, match="cannot be called like the variant asan"):
        built.name_of("10.2.2", "plain", tmp_path / "asan.patch")


def test_recipe_knows_each_variant(tmp_path):
    """It refuses any other with those that it knows, before it does anything."""
    said = subprocess.run(
        ["bash", RECIPE, "x", "10.2.2", "msan", tmp_path / "x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 1
    assert said.stderr == f"build: msan: no such variant; there are: {' '.join(VARIANTS)}\n"
    assert not (tmp_path / "x").exists()


def test_recipe_is_run_for_the_cache(cache, tmp_path, monkeypatch, capfd, patch):
    recipe = tmp_path / "recipe.sh"
    recipe.write_text('echo "$@" "${PYTHON##*/}"')
    monkeypatch.setattr(built, "RECIPE", recipe)
    assert built.build("10.2.2", "asan", patch) == cache / "10.2.2-asan-no-check" / fetched.BINARY
    told = capfd.readouterr()
    words = told.err.split()
    assert words[:4] == ["10.2.2-asan-no-check", "10.2.2", "asan", str(cache)]
    assert " ".join(words[4:-1]) == str(patch)
    assert words[-1].startswith("python")
    assert not told.out, "standard output is for the path"


def test_recipe_that_fails_is_one_line(cache, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.sh"
    recipe.write_text("exit 1")
    monkeypatch.setattr(built, "RECIPE", recipe)
    with pytest.raises(PrerequisiteMissing) as refused:
        built.build("10.2.2")
    assert str(refused.value) == "qemu build: 10.2.2 could not be built: why stands above"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("10.2.2", "vfio-multifd qemu build 10.2.2"),
        ("10.2.2-asan", "vfio-multifd qemu build 10.2.2 --variant asan"),
    ],
)
def test_build_that_is_not_there_is_told_with_how_to_make_it(cache, name, command):
    with pytest.raises(PrerequisiteMissing) as refused:
        builds.find(name)
    assert str(refused.value) == f"--qemu: {name} is not there yet: {command}"


def test_path_goes_before_a_build_that_is_not_there(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    binary = tmp_path / "10.2.2" / fetched.BINARY
    binary.parent.mkdir()
    binary.touch(0o755)
    assert builds.find("10.2.2") == binary


@pytest.mark.parametrize("name", ["debian-13", "10.2.2-mine", "qemu", "10.2"])
def test_what_no_command_builds_has_none(name):
    assert built.command_for(name) == ""
