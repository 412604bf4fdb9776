"""Commands about QEMU builds: qemu list, qemu fetch, qemu build."""

import argparse
import sys
from pathlib import Path

from harness.commands.arguments import Commands, add_json
from harness.commands.output import say


def add(commands: Commands) -> None:
    """Add them."""
    parser = commands.add_parser("qemu", help="QEMU builds: which there are, fetch or build more")
    parser.description = (
        "QEMU builds of Debian, kept in a cache folder and not installed.  Wherever --qemu "
        "takes a path, it takes the name of one."
    )
    builds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = builds.add_parser("list", help="the builds that are there, or can be fetched")
    listed.set_defaults(call=_list)
    add_json(listed)
    fetch = builds.add_parser("fetch", help="fetch builds, and print their paths")
    fetch.set_defaults(call=_fetch)
    fetch.add_argument("name", nargs="+", metavar="NAME", help="as in qemu list")
    build = builds.add_parser(
        "build",
        help="build one from Debian's source package, and print its path",
        description="Build a QEMU from Debian's source package in a minimal configuration, and "
        "print its path.  It takes some minutes.  The build is called VERSION, or "
        "VERSION-VARIANT, with the name of the patch behind it.",
    )
    build.set_defaults(call=_build)
    build.add_argument("version", metavar="VERSION", help="like 10.2.2")
    build.add_argument(
        "--variant",
        default="plain",
        metavar="VARIANT",
        help="gcov counts what runs of the code under test; asan and tsan have sanitizers",
    )
    build.add_argument(
        "--patch", type=Path, metavar="FILE", help="apply it to the source first (patch -p1)"
    )


def _list(options: argparse.Namespace) -> int:
    from harness import qemus  # noqa: PLC0415

    found = qemus.known()
    if options.json:
        sys.stdout.write(qemus.document(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in qemus.lines(found))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from harness.vm import fetched  # noqa: PLC0415

    for name in options.name:
        say(str(fetched.fetch(name)))
    return 0


def _build(options: argparse.Namespace) -> int:
    from harness.vm import built  # noqa: PLC0415

    say(str(built.build(options.version, options.variant, options.patch)))
    return 0
