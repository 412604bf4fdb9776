"""QEMU builds that are made from Debian's source package, plain or in a variant.

``build.sh`` in this folder is the recipe; the builds are in the same cache as the fetched ones.
"""

import re
from pathlib import Path

from harness.errors import UsageError
from harness.vm import fetched

BUILD = "vfio-multifd qemu build"
RECIPE = Path(__file__).with_name("build.sh")
VARIANTS = {
    "plain": "unchanged",
    "gcov": "counts how often the code under test runs",
    "asan": "with the address and undefined-behaviour sanitizers",
    "tsan": "with the thread sanitizer",
}
"""The variants of ``build.sh``."""
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def name_of(version: str, variant: str = "plain", patch: Path | None = None) -> str:
    """The name of a build: ``10.2.2``, ``10.2.2-asan``, ``10.2.2-no-check`` (no-check.patch).

    :raise UsageError: there is no such version, variant or patch
    """
    if not _VERSION.fullmatch(version):
        raise UsageError(f"qemu build: {version}: not a version like 10.2.2")
    if variant not in VARIANTS:
        raise UsageError(
            f"qemu build: {variant}: no such variant; there are: {', '.join(VARIANTS)}"
        )
    parts = [version] if variant == "plain" else [version, variant]
    if patch is not None:
        if not patch.is_file():
            raise UsageError(f"qemu build: {patch}: no such patch")
        if patch.stem in VARIANTS:
            raise UsageError(f"qemu build: {patch}: a patch must not have the name of a variant")
        parts.append(re.sub(r"[^A-Za-z0-9_.]+", "-", patch.stem).strip("-."))
    return "-".join(parts)


def command_for(name: str) -> str:
    """The command that makes the build ``name``; empty if none does.

    A build with a patch has none: its name does not give the patch's path.
    """
    version, _, variant = name.partition("-")
    if not _VERSION.fullmatch(version) or (variant and variant not in VARIANTS):
        return ""
    return f"{BUILD} {version}" + (f" --variant {variant}" if variant else "")


def build(version: str, variant: str = "plain", patch: Path | None = None) -> Path:
    """Make the build if it does not exist, which takes minutes; returns its binary.

    The output of the recipe and its tools goes to standard error.

    :raise UsageError: there is no such version, variant or patch
    :raise PrerequisiteMissing: it cannot be built here
    """
    name = name_of(version, variant, patch)
    more = () if patch is None else (str(patch.absolute()),)
    fetched.run_recipe("qemu build", RECIPE, name, version, variant, str(fetched.CACHE), *more)
    return fetched.CACHE / name / fetched.BINARY
