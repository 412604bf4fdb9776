"""Builds that are fetched: their names, their order, and the recipe."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import PrerequisiteMissing, UsageError
from harness.vm import fetched
from harness.vm.fetched import BINARY, NAMES, RECIPE

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = {
    "name": "debian-13",
    "qemu": "10.0.13",
    "debian": "1:10.0.13+ds-0+deb13u1",
    "suite": "trixie",
    "architecture": "x86_64",
    "fetched": "2026-11-23",
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(fetched, "CACHE", folder)
    return folder


def make(cache, name, manifest=None):
    (cache / name).mkdir(parents=True)
    (cache / name / BINARY).touch()
    if manifest is not None:
        (cache / name / fetched.MANIFEST).write_text(json.dumps(manifest))
    return cache / name / BINARY


def refusal(function, *args):
    with pytest.raises((PrerequisiteMissing, UsageError)) as refused:
        function(*args)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_checkout_has_a_cache_of_its_own_where_set_up_puts_them():
    assert ROOT / ".cache" / "qemu" == fetched.CACHE
    assert "cache=.cache/qemu\n" in (ROOT / "ci" / "setup.sh").read_text()


def test_default_build_is_the_one_that_set_up_fetches():
    (names,) = re.findall(r"^fetched=\((.*?)\)", (ROOT / "ci" / "setup.sh").read_text(), re.M)
    assert names.split() == list(NAMES)[:2]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "/h/.cache/vfio-multifd/qemu"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/vfio-multifd/qemu"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache/vfio-multifd/qemu"),
    ],
)
def test_installed_package_uses_the_users_cache(tmp_path, environment, folder):
    """As a wheel puts it: without the checkout around it, but with the recipe."""
    package = tmp_path / "harness"
    (package / "vm").mkdir(parents=True)
    for name in ("errors.py", "vm/fetched.py", "vm/fetch.sh"):
        (package / name).write_bytes((ROOT / "harness" / name).read_bytes())
    program = "from harness.vm import fetched; print(fetched.CACHE, fetched.RECIPE.is_file())"
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == [folder, "True"]


def test_recipe_is_packed_into_the_wheel():
    assert '"**/*.sh"' in (ROOT / "pyproject.toml").read_text()


def test_recipe_knows_each_name(tmp_path):
    """It refuses any other with those that it knows, before it does anything."""
    said = subprocess.run(
        ["bash", RECIPE, "debian-0", tmp_path / "x"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert f"fetch.sh {'|'.join(NAMES)} FOLDER" in said.stderr
    assert not (tmp_path / "x").exists()


def test_builds_come_in_the_order_of_the_names_and_others_behind(cache):
    others = [make(cache, name) for name in ("z", "a")]
    known = [make(cache, name) for name in reversed(NAMES)]
    make(cache, ".debian-13.Xyz")  # one that is being fetched
    assert fetched.binaries() == [*reversed(known), *reversed(others)]
    assert fetched.names() == [*NAMES, "a", "z"]


def test_variant_or_mutant_does_not_pass_for_a_qemu_of_its_version(cache):
    """It is found by its name, and never taken where none is given."""
    for name, more in {
        "10.2.2": {"variant": "plain", "patch": ""},
        "10.2.2-asan": {"variant": "asan", "patch": ""},
        "10.2.2-mutant": {"variant": "plain", "patch": "ab"},
        "debian-13": {},
    }.items():
        make(cache, name, {**MANIFEST, "name": name, **more})
    make(cache, "z")
    plain = [path.parent.name for path in fetched.binaries(is_plain=True)]
    assert plain == ["debian-13", "10.2.2", "z"]
    assert "10.2.2-asan" in fetched.names()


def test_names_are_known_before_anything_is_fetched(cache):
    assert fetched.names() == list(NAMES)
    assert fetched.binaries() == []


def test_manifest_of_an_earlier_recipe_can_be_read(cache):
    make(cache, "debian-13", MANIFEST)
    found = fetched.manifest("debian-13")
    assert (found.qemu, found.suite, found.packages) == ("10.0.13", "trixie", {})


def test_manifest_tells_checksum_and_packages(cache):
    more = {"sha256": "ab", "packages": {"libc6": "2.41-1"}}
    make(cache, "debian-13", MANIFEST | more)
    assert fetched.manifest("debian-13").packages == {"libc6": "2.41-1"}
    assert fetched.manifest("debian-13").sha256 == "ab"


@pytest.mark.parametrize(
    ("manifest", "why"), [(None, "No such file"), ({"name": "x"}, "not a manifest")]
)
def test_build_without_a_good_manifest_is_refused_with_what_to_do(cache, manifest, why):
    make(cache, "debian-13", manifest)
    words = refusal(fetched.manifest, "debian-13")
    assert why in words
    assert f"remove {cache / 'debian-13'} and fetch it again" in words


# -- fetch ----------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Puts a script in the recipe's place."""

    def put(text):
        path = tmp_path / "recipe.sh"
        path.write_text(text)
        monkeypatch.setattr(fetched, "RECIPE", path)

    return put


def test_fetch_runs_the_recipe_for_the_cache(cache, recipe, capfd):
    recipe('echo "$@"\nmkdir -p "$2/$1"')
    assert fetched.fetch("debian-13") == cache / "debian-13" / BINARY
    told = capfd.readouterr()
    assert told.err == f"debian-13 {cache}\n"
    assert not told.out, "standard output is for the path"


def test_recipe_that_fails_is_told(cache, recipe):
    recipe("exit 1")
    assert refusal(fetched.fetch, "debian-13").startswith("qemu fetch: debian-13: failed")


def test_name_that_nobody_knows_is_refused_with_those_that_are_known(cache, recipe):
    recipe("exit 0")
    assert refusal(fetched.fetch, "debian-9") == (
        f"qemu fetch: debian-9: no such build; there are: {', '.join(NAMES)}"
    )


def test_interrupt_lets_the_recipe_clean_up(cache, recipe, tmp_path):
    """It is told to end, and waited for."""
    recipe(
        f"trap 'touch {tmp_path}/cleaned; exit 143' TERM\n"
        f"kill -{signal.SIGINT.value} {{pid}}\nwhile :; do sleep 0.05; done"
    )
    script = fetched.RECIPE
    program = (
        "import os, sys; from pathlib import Path; from harness import interrupt\n"
        "from harness.vm import fetched\ninterrupt.install()\n"
        f"fetched.CACHE = Path({str(cache)!r}); fetched.RECIPE = Path({str(script)!r})\n"
        "fetched.RECIPE.write_text(fetched.RECIPE.read_text().replace('{pid}', str(os.getpid())))\n"
        "try: fetched.fetch('debian-13')\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 7
    assert (tmp_path / "cleaned").exists()
