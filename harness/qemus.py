"""The QEMU builds of this machine: which there are, and which can be fetched."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.vm import builds, fetched


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One build that can be used, or fetched, by its name; or that stands somewhere else."""

    name: str
    """What ``--qemu`` takes for it; a path where it has no other name."""
    path: str
    """Empty: it is not there yet."""
    version: str = ""
    """Empty: it is not there, or is not whole (``wrong``)."""
    found: tuple[str, ...] = ()
    """How else it is found: ``PATH``, ``QEMU_TEST_QEMU_BINARY``."""
    is_default: bool = False
    """It is taken where no other is given."""
    manifest: fetched.Manifest | None = None
    """Of one that was fetched."""
    about: str = ""
    """What the recipe fetches under this name."""
    wrong: str = ""
    """Why it cannot be used."""


def known() -> tuple[Known, ...]:
    """All of them: first those with names."""
    elsewhere = dict(_elsewhere())
    try:
        default: Path | None = builds.find()
    except HarnessError:
        default = None
    found = []
    for name in fetched.names():
        path = fetched.CACHE / name / builds.BINARY
        ways = tuple(way for way, other in elsewhere.items() if other == path)
        found.append(_known(name, path, ways, is_default=path == default))
    others = [p for p in elsewhere.values() if p.parent.parent != fetched.CACHE]
    for path in dict.fromkeys(others):
        ways = tuple(way for way, other in elsewhere.items() if other == path)
        found.append(_known(str(path), path, ways, is_default=path == default))
    return tuple(found)


def _elsewhere() -> Iterator[tuple[str, Path]]:
    """How a build is found, and its path, without links and dots."""
    if named := os.environ.get(builds.ENVIRONMENT, ""):
        try:
            yield builds.ENVIRONMENT, builds.find(named)
        except HarnessError:
            yield builds.ENVIRONMENT, Path(named).absolute()
    if on_path := shutil.which(builds.BINARY):
        yield "PATH", Path(on_path)


def _known(name: str, path: Path, ways: tuple[str, ...], *, is_default: bool) -> Known:
    about = fetched.NAMES.get(name, "")
    is_named = path.parent.parent == fetched.CACHE
    if is_named and not path.exists():
        return Known(name=name, path="", about=about)
    version, wrong, manifest = "", "", None
    try:
        version = ".".join(map(str, builds.version_of(path)))
        manifest = fetched.manifest(name) if is_named else None
    except HarnessError as error:
        wrong = str(error)
    return Known(
        name=name,
        path=str(path),
        version=version,
        found=ways,
        is_default=is_default,
        manifest=manifest,
        about=about,
        wrong=wrong,
    )


def lines(every: tuple[Known, ...]) -> Iterator[str]:
    """``every``, a line each, for people."""
    width = max(len(each.name) for each in every)
    for each in every:
        where = each.path or f"not there: {builds.FETCH} {each.name} gets {each.about}"
        notes = [f"by {way}" for way in each.found]
        if each.is_default:
            notes.append("taken where none is given")
        if each.wrong:
            notes.append(f"cannot be used: {each.wrong}")
        told = f" ({'; '.join(notes)})" if notes else ""
        yield f"{each.name:<{width}}  {each.version or '-':<8}  {where}{told}"


def document(every: tuple[Known, ...]) -> bytes:
    """``every`` as JSON."""
    return msgspec.json.format(msgspec.json.encode({"builds": every}), indent=2) + b"\n"
