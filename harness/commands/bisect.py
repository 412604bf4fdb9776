"""The command that answers ``git bisect run``: bisect."""

import argparse
import shlex
from pathlib import Path

from harness.commands.arguments import Commands
from harness.commands.output import say

BUILD = Path("build")


def add(commands: Commands) -> None:
    """Add it."""
    parser = commands.add_parser("bisect", help="answer git bisect run in a QEMU tree")
    parser.set_defaults(call=_bisect)
    parser.description = (
        "Builds the QEMU tree that it is called in, runs what asks about a requirement or a "
        "finding, and answers: exit status 0 good, 1 bad, 125 this commit cannot be judged.  "
        "For git bisect run call it by ci/bisect.sh, which stops the bisection where the "
        "question itself is wrong.  A violation that a known deviation of that version "
        "describes says nothing about a requirement; a finding is asked for by its name."
    )
    parser.add_argument("asked", metavar="REQUIREMENT|FINDING",
                        help="like ORD-1, or a name of vfio-multifd repro")  # fmt: skip
    parser.add_argument("--scenario", action="append", default=[], type=Path, metavar="FILE",
                        help="run this one, and may be given again (default: the finding's, or "
                        "those of the main job that ask)")  # fmt: skip
    parser.add_argument("--tries", type=_tries, metavar="N",
                        help="runs of each scenario; bad at the first that is (default: 1, or "
                        "20 for a finding that does not show in each run)")  # fmt: skip
    parser.add_argument("--fixed", action="store_true",
                        help="look for the fix: 0 where it is bad, 1 where it is good")  # fmt: skip
    parser.add_argument("--tree", type=Path, default=Path(), metavar="DIR",
                        help="QEMU's source tree (default: here)")  # fmt: skip
    parser.add_argument("--build-dir", type=Path, default=BUILD, metavar="DIR",
                        help="in the tree (default: build); configured if it is new")  # fmt: skip
    parser.add_argument("--configure", default="", metavar="OPTIONS",
                        help="more options of configure")  # fmt: skip
    parser.add_argument("--build", default="", metavar="COMMAND",
                        help="build with this shell command, run in the tree, instead of "
                        "configure and ninja")  # fmt: skip
    parser.add_argument("--qemu-src", default="", metavar="NAME|PATH",
                        help="source QEMU (default: the tree's)")  # fmt: skip
    parser.add_argument("--qemu-dst", default="", metavar="NAME|PATH",
                        help="destination QEMU (default: the tree's)")  # fmt: skip
    parser.add_argument("--runs", type=Path, metavar="DIR",
                        help="where the build's log and runs that were not good are kept "
                        "(default: .cache/vfio-multifd in the tree)")  # fmt: skip


def _tries(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


def _bisect(options: argparse.Namespace) -> int:
    from harness import bisect  # noqa: PLC0415

    step = bisect.Step(
        asked=options.asked,
        tree=options.tree,
        build_dir=options.build_dir,
        runs_dir=options.runs or options.tree / ".cache" / "vfio-multifd",
        build=options.build,
        configure=shlex.split(options.configure),
        paths=options.scenario,
        source=options.qemu_src,
        destination=options.qemu_dst,
        tries=options.tries,
    )
    answer = bisect.bisect(step, say)
    if options.fixed:
        answer = answer.turned
    say(f"{options.asked}: {answer.name.lower()}")
    return answer
