"""QEMU builds that are made from Debian's source package, plain or in a variant.

``build.sh`` beside this file is the recipe; the builds lie beside those that are fetched.
"""

import re
from pathlib import Path

from harness.errors import UsageError
from harness.vm import fetched

BUILD = "vfio-multifd qemu build"
RECIPE = Path(__file__).with_name("build.sh")
VARIANTS = {
    "plain": "as it is",
    "gcov": "counts what runs of the code under test",
    "asan": "with the address and undefined-behaviour sanitizers",
    "tsan": "with the thread sanitizer",
}
"""What ``build.sh`` knows."""
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
            raise UsageError(f"qemu build: {patch}: there is no such patch")
        if patch.stem in VARIANTS:
            raise UsageError(
                f"qemu build: {patch}: a patch cannot be called like the variant {patch.stem}"
            )
        parts.append(re.sub(r"[^A-Za-z0-9_.]+", "-", patch.stem).strip("-."))
    return "-".join(parts)


def command_for(name: str) -> str:
    """The command that builds what is called ``name``; "" if none does.

    A patch is not known by its name.
    """
    version, _, variant = name.partition("-")
    if not _VERSION.fullmatch(version) or (variant and variant not in VARIANTS):
        return ""
    return f"{BUILD} {version}" + (f" --variant {variant}" if variant else "")


def build(version: str, variant: str = "plain", patch: Path | None = None) -> Path:
    """The binary of that build, made if it is not there; it takes minutes.

    What the recipe and its tools say goes to standard error.

    :raise UsageError: there is no such version, variant or patch
    :raise PrerequisiteMissing: it cannot be built here
    """
    name = name_of(version, variant, patch)
    more = () if patch is None else (str(patch.absolute()),)
    fetched.run_recipe("qemu build", RECIPE, name, version, variant, str(fetched.CACHE), *more)
    return fetched.CACHE / name / fetched.BINARY
