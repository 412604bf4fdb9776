"""QEMU builds in a cache folder, each with a name: fetched from a distribution, or built from
its source (``built``).

``fetch.sh`` in this folder is the recipe: it unpacks packages and installs nothing.
"""

import os
import signal
import subprocess
import sys
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
"""The builds of ``fetch.sh``, in the order in which one is chosen by default."""
RECIPE = Path(__file__).with_name("fetch.sh")
MANIFEST = "manifest.json"


def _cache() -> Path:
    """A folder of the checkout; the user's cache if the package is installed."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache" / "qemu"
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return folder / "vfio-multifd" / "qemu"


CACHE = _cache()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fetch.sh`` or ``build.sh`` records about a build."""

    name: str
    qemu: str
    """Version, like ``10.0.13``."""
    debian: str
    """Version of the package, or of the source package."""
    suite: str
    architecture: str
    fetched: str
    """Day on which it was fetched or built, in UTC."""
    sha256: str = ""
    """Of the binary; empty if an older recipe fetched it."""
    packages: dict[str, str] = {}
    """All packages that were unpacked, with their versions; empty if unknown or built."""
    variant: str = ""
    """One of ``built.VARIANTS``; empty if fetched."""
    configure: str = ""
    """Options of QEMU's configure; empty if fetched."""
    compiler: str = ""
    """Its version; empty if fetched."""
    patch: str = ""
    """SHA-256 of the patch that was applied to the source; empty if none was."""


def binaries(*, is_plain: bool = False) -> list[Path]:
    """Binaries of all builds in the cache: those of ``NAMES`` first, in that order.

    :param is_plain: only those without sanitizers, counters or a patch, which behave like any
        QEMU of their version
    """
    order = list(NAMES)
    found = sorted(CACHE.glob(f"[!.]*/{BINARY}"))
    if is_plain:
        found = [path for path in found if _is_plain(path.parent.name)]
    known = [path for path in found if path.parent.name in NAMES]
    others = [path for path in found if path.parent.name not in NAMES]
    return [*sorted(known, key=lambda path: order.index(path.parent.name)), *others]


def _is_plain(name: str) -> bool:
    try:
        found = manifest(name)
    except PrerequisiteMissing:
        return True  # its use reports the error
    return found.variant in ("", "plain") and not found.patch


def names() -> list[str]:
    """Names that can be given instead of a path: of builds that can be fetched or are there."""
    return list(dict.fromkeys([*NAMES, *(path.parent.name for path in binaries())]))


def manifest(name: str) -> Manifest:
    """The manifest of the build ``name``, which is in the cache.

    :raise PrerequisiteMissing: it cannot be read, so the build is incomplete
    """
    path = CACHE / name / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        reason = f"cannot read: {error.strerror}"
    except msgspec.DecodeError as error:
        reason = f"not a manifest: {error}"
    raise PrerequisiteMissing(f"{path}: {reason}; remove {path.parent} and fetch it again")


def version_beside(binary: Path) -> tuple[int, ...]:
    """The version in the manifest of a ``binary`` in the cache; empty if there is none."""
    if binary.parent.parent != CACHE:
        return ()
    try:
        return tuple(int(part) for part in manifest(binary.parent.name).qemu.split("."))
    except (PrerequisiteMissing, ValueError):
        return ()


def fetch(name: str) -> Path:
    """Fetch the build ``name`` if it is not in the cache; returns its binary.

    The output of the recipe and its tools goes to standard error.

    :raise UsageError: the name is unknown
    :raise PrerequisiteMissing: it cannot be fetched here
    """
    if name not in NAMES:
        raise UsageError(f"qemu fetch: {name}: no such build; there are: {', '.join(NAMES)}")
    run_recipe("qemu fetch", RECIPE, name, str(CACHE))
    return CACHE / name / BINARY


def run_recipe(command: str, recipe: Path, *arguments: str) -> None:
    """Run ``recipe``; its output goes to standard error.

    :param command: the user's, for messages
    :raise PrerequisiteMissing: it failed
    """
    # If we are killed, the recipe gets SIGTERM and removes what it has begun.
    argv = ["setpriv", "--pdeathsig", "TERM", "--", "bash", str(recipe), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    running: subprocess.Popen[bytes] | None = None
    try:
        with interrupt.held():
            running = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=2, env=environment, start_new_session=True
            )
        status = running.wait()
    except FileNotFoundError as error:
        raise PrerequisiteMissing(f"{command}: setpriv not found: install util-linux") from error
    except KeyboardInterrupt:
        if running is not None:
            os.killpg(running.pid, signal.SIGTERM)  # bash waits for what it has started
            running.wait()
        raise
    if status:
        raise PrerequisiteMissing(f"{command}: {arguments[0]}: failed, see the output above")
