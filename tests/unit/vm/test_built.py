"""Builds from source: their names, and what the recipe is asked for."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

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
    with pytest.raises(UsageError, match="no such patch"):
        built.name_of("10.2.2", "plain", tmp_path / "x.patch")
    (tmp_path / "asan.patch").touch()
    with pytest.raises(UsageError, match="must not have the name of a variant"):
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
    assert str(refused.value) == "qemu build: 10.2.2: failed, see the output above"


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
    assert str(refused.value) == f"--qemu: {name} is not built yet: {command}"


def test_path_goes_before_a_build_that_is_not_there(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    binary = tmp_path / "10.2.2" / fetched.BINARY
    binary.parent.mkdir()
    binary.touch(0o755)
    assert builds.find("10.2.2") == binary


@pytest.mark.parametrize("name", ["debian-13", "10.2.2-mine", "qemu", "10.2"])
def test_what_no_command_builds_has_none(name):
    assert built.command_for(name) == ""


# -- the recipe, with tools that only pass for compilers ---------------------------------

SOURCE = "int check = 1;\n"
FAKE_QEMU = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version 1.2.3 (Debian)"; exit; fi
echo '{"event": "SHUTDOWN"}'
"""
# Compiles the source into the QEMU, so that it is seen what was built.
NINJA = """\
#!/bin/sh
set -e
cd "$2"
if [ -e ../wait ]; then echo $$ >../waits; while :; do sleep 0.05; done; fi
mkdir -p trace
touch trace/trace-events-all
{ cat ../qemu; echo "# $(cat ../source/check.c)"; } >qemu-system-x86_64
chmod 755 qemu-system-x86_64
"""


@pytest.fixture
def tree(tmp_path):
    """A cache in which all is ready to build 1.2.3: nothing has to be fetched or configured."""
    tree = tmp_path / "cache" / ".source" / "1.2.3"
    for folder in ("source", "tools", "plain"):
        (tree / folder).mkdir(parents=True)
    (tree / "source" / "check.c").write_text(SOURCE)
    (tree / "origin").write_text("1:1.2.3+ds-1 sid/main\n")
    (tree / "qemu").write_text(FAKE_QEMU)
    for marker in ("tools/ready", "plain/configured"):
        (tree / marker).touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("gcc", "flex", "bison", "dpkg-source", "pkg-config"):
        (tools / name).write_text("#!/bin/sh\necho fake 1\n")
    (tools / "ninja").write_text(NINJA)
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return tree


def recipe(tree, name, *patch):
    cache = tree.parents[1]
    environment = {**os.environ, "PATH": f"{cache.parent / 'bin'}:{os.environ['PATH']}"}
    argv = ["bash", RECIPE, name, "1.2.3", "plain", cache, *patch]
    return subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def built_by(tree, name, *patch):
    process = recipe(tree, name, *patch)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture
def no_check(tmp_path):
    path = tmp_path / "no-check.patch"
    path.write_text("--- a/check.c\n+++ b/check.c\n@@ -1 +1 @@\n-int check = 1;\n+int check = 0;\n")
    return path


def test_recipe_leaves_a_build_with_its_manifest(tree):
    status, said = built_by(tree, "1.2.3")
    assert status == 0, said
    folder = tree.parents[1] / "1.2.3"
    found = json.loads((folder / fetched.MANIFEST).read_text())
    assert {name: found[name] for name in ("qemu", "debian", "suite", "variant", "patch")} == {
        "qemu": "1.2.3", "debian": "1:1.2.3+ds-1", "suite": "sid", "variant": "plain", "patch": "",
    }  # fmt: skip
    binary = (folder / fetched.BINARY).read_bytes()
    assert found["sha256"] == hashlib.sha256(binary).hexdigest()
    assert (folder / "trace" / "trace-events-all").is_file()
    assert built_by(tree, "1.2.3")[1].endswith("1.2.3 is there\n")


def test_patch_is_in_its_build_only(tree, no_check):
    assert built_by(tree, "1.2.3-no-check", no_check)[0] == 0
    assert built_by(tree, "1.2.3")[0] == 0
    cache = tree.parents[1]
    assert "check = 0" in (cache / "1.2.3-no-check" / fetched.BINARY).read_text()
    assert "check = 1" in (cache / "1.2.3" / fetched.BINARY).read_text()
    found = json.loads((cache / "1.2.3-no-check" / fetched.MANIFEST).read_text())
    assert found["patch"] == hashlib.sha256(no_check.read_bytes()).hexdigest()
    assert (tree / "source" / "check.c").read_text() == SOURCE


def test_patch_that_has_changed_is_built_again(tree, no_check):
    built_by(tree, "1.2.3-no-check", no_check)
    no_check.write_text(no_check.read_text().replace("check = 0", "check = 2"))
    assert built_by(tree, "1.2.3-no-check", no_check)[0] == 0
    assert "check = 2" in (tree.parents[1] / "1.2.3-no-check" / fetched.BINARY).read_text()


def test_patch_that_does_not_apply_leaves_the_source_as_it_was(tree, no_check):
    no_check.write_text(no_check.read_text().replace("check = 1", "check = 9"))
    status, said = built_by(tree, "1.2.3-no-check", no_check)
    assert status == 1
    assert said.endswith("no-check.patch does not apply to QEMU 1.2.3: see above\n")
    assert (tree / "source" / "check.c").read_text() == SOURCE
    assert not (tree.parents[1] / "1.2.3-no-check").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_finished_and_goes_on_the_next_time(
    tree, no_check, number
):
    (tree / "wait").touch()
    process = recipe(tree, "1.2.3-no-check", no_check)
    while not (tree / "waits").exists():
        assert process.poll() is None
    process.send_signal(number)
    if number is signal.SIGKILL:  # nobody has ended it
        os.kill(int((tree / "waits").read_text() or _of(tree)), signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == (143 if number is signal.SIGTERM else -9)
    cache = tree.parents[1]
    assert not (cache / "1.2.3-no-check").exists()
    assert not fetched_names(cache)
    (tree / "wait").unlink()
    assert built_by(tree, "1.2.3")[0] == 0
    assert "check = 1" in (cache / "1.2.3" / fetched.BINARY).read_text(), "the patch is out again"


def _of(tree: Path) -> str:
    while not (text := (tree / "waits").read_text()):
        pass
    return text


def fetched_names(cache: Path) -> list[Path]:
    """What would be taken for a build."""
    return list(cache.glob(f"[!.]*/{fetched.BINARY}"))
