"""``vfio-multifd qemu``: list, fetch and build QEMU builds to test."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.commands.arguments import add_json
from harness.commands.output import say
from harness.errors import HarnessError
from harness.vm import builds, built, fetched


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "QEMU builds of Debian, kept in a cache folder and not installed.  --qemu takes their "
        "names as well as paths."
    )
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = parsers.add_parser("list", help="list the builds that are here or can be fetched")
    listed.description = "Lists the builds that are here, and those that `qemu fetch` can get."
    listed.set_defaults(do=_list)
    add_json(listed)
    fetch = parsers.add_parser("fetch", help="fetch builds, and print their paths")
    fetch.description = "Fetches builds from Debian's archive, and prints their paths."
    fetch.set_defaults(do=_fetch)
    fetch.add_argument("name", nargs="+", metavar="NAME", help="name in `qemu list`")
    build = parsers.add_parser("build", help="build one from Debian's source package")
    build.description = (
        "Builds a QEMU from Debian's source package in a minimal configuration, and prints its "
        "path.  This takes some minutes.  The build's name is VERSION or VERSION-VARIANT, "
        "followed by the patch's name if there is one."
    )
    build.set_defaults(do=_build)
    build.add_argument("version", metavar="VERSION", help="version, like 10.2.2")
    build.add_argument("--variant", default="plain", metavar="VARIANT",
                       help="gcov (counts executed lines), asan or tsan (sanitizers) "
                       "(default: plain)")  # fmt: skip
    build.add_argument("--patch", type=Path, metavar="FILE",
                       help="patch to apply to the source first (patch -p1)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    do: Callable[[argparse.Namespace], int] = options.do
    return do(options)


def _list(options: argparse.Namespace) -> int:
    found = known()
    if options.json:
        sys.stdout.write(document(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(found))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    for name in options.name:
        say(str(fetched.fetch(name)))
    return 0


def _build(options: argparse.Namespace) -> int:
    say(str(built.build(options.version, options.variant, options.patch)))
    return 0


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A build that can be used, or fetched."""

    name: str
    """What ``--qemu`` takes for it; its path if it has no name."""
    path: str
    """Empty if it was not fetched yet."""
    version: str = ""
    """Empty if it was not fetched yet, or cannot be used (``wrong``)."""
    found: tuple[str, ...] = ()
    """Where else it is named: ``PATH``, ``QEMU_TEST_QEMU_BINARY``."""
    is_default: bool = False
    """Whether it is taken when none is given."""
    manifest: fetched.Manifest | None = None
    """None unless it was fetched."""
    about: str = ""
    """What would be fetched under this name."""
    wrong: str = ""
    """Why it cannot be used; empty if it can."""


def known() -> tuple[Known, ...]:
    """All builds, those with names first."""
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
    """The builds named by the environment, and by what."""
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
    """``every`` as text, one line each."""
    width = max(len(each.name) for each in every)
    for each in every:
        where = each.path or f"not fetched: `{builds.FETCH} {each.name}` gets {each.about}"
        notes = [f"by {way}" for way in each.found]
        if each.is_default:
            notes.append("default")
        if each.wrong:
            notes.append(f"cannot be used: {each.wrong}")
        suffix = f" ({'; '.join(notes)})" if notes else ""
        yield f"{each.name:<{width}}  {each.version or '-':<8}  {where}{suffix}"


def document(every: tuple[Known, ...]) -> bytes:
    """``every`` as JSON."""
    return msgspec.json.format(msgspec.json.encode({"builds": every}), indent=2) + b"\n"
