"""QEMU builds of a distribution that are fetched into a cache folder, each known by a name.

``fetch.sh`` beside this file is the recipe: it unpacks packages, and installs nothing.
"""

import os
import signal
import subprocess
from pathlib import Path

import msgspec

from harness import interrupt
from harness.errors import PrerequisiteMissing, UsageError

BINARY = "qemu-system-x86_64"
NAMES = {
    "debian-13": "QEMU 10.0 of Debian 13 (trixie)",
    "debian-13-backports": "the newest QEMU of Debian (trixie-backports)",
    "debian-12-backports": "QEMU 10.0.2 of bookworm-backports, for Debian 12",
}
"""What ``fetch.sh`` knows, in the order in which a build is taken where none is given."""
RECIPE = Path(__file__).with_name("fetch.sh")
MANIFEST = "manifest.json"


def _cache() -> Path:
    """The checkout's own folder; the user's cache where the package was installed."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache" / "qemu"
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return folder / "vfio-multifd" / "qemu"


CACHE = _cache()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fetch.sh`` says of a build."""

    name: str
    qemu: str
    """Version, like ``10.0.13``."""
    debian: str
    """Version of the package."""
    suite: str
    architecture: str
    fetched: str
    """Day, in UTC."""
    sha256: str = ""
    """Of the binary; empty: fetched by a recipe that did not tell."""
    packages: dict[str, str] = {}
    """All packages that were unpacked, with their versions; empty: likewise."""


def binaries() -> list[Path]:
    """Of all builds that are there: those of ``NAMES`` first, in their order."""
    order = list(NAMES)
    found = sorted(CACHE.glob(f"[!.]*/{BINARY}"))
    known = [path for path in found if path.parent.name in NAMES]
    others = [path for path in found if path.parent.name not in NAMES]
    return [*sorted(known, key=lambda path: order.index(path.parent.name)), *others]


def names() -> list[str]:
    """Names that can be given instead of a path: what can be fetched, and what is there."""
    return list(dict.fromkeys([*NAMES, *(path.parent.name for path in binaries())]))


def manifest(name: str) -> Manifest:
    """Of the build ``name``, which is there.

    :raise PrerequisiteMissing: its manifest cannot be read, so it is not whole
    """
    path = CACHE / name / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except msgspec.DecodeError as error:
        reason = f"not a manifest: {error}"
    raise PrerequisiteMissing(f"{path}: {reason}; remove {path.parent} and fetch it again")


def fetch(name: str) -> Path:
    """The binary of the build ``name``, fetched if it is not there.

    What the recipe and its tools say goes to standard error.

    :raise UsageError: nobody knows that name
    :raise PrerequisiteMissing: it cannot be had here
    """
    if name not in NAMES:
        raise UsageError(f"qemu fetch: {name}: no such build; there are: {', '.join(NAMES)}")
    # Should we be killed, the recipe is told to end, and removes what it has begun.
    command = ["setpriv", "--pdeathsig", "TERM", "--", "bash", str(RECIPE), name, str(CACHE)]
    recipe: subprocess.Popen[bytes] | None = None
    try:
        with interrupt.held():
            recipe = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
            )
        status = recipe.wait()
    except FileNotFoundError as error:
        raise PrerequisiteMissing("qemu fetch: setpriv is not there: install util-linux") from error
    except KeyboardInterrupt:
        if recipe is not None:
            os.killpg(recipe.pid, signal.SIGTERM)  # bash waits for what it has started
            recipe.wait()
        raise
    if status:
        raise PrerequisiteMissing(f"qemu fetch: {name} could not be fetched: why stands above")
    return CACHE / name / BINARY
