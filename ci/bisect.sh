#!/usr/bin/env bash
# What `git bisect run` calls in a QEMU tree:
#
#     cd qemu; git bisect start BAD GOOD
#     git bisect run /path/to/this/ci/bisect.sh ORD-1 [OPTION]...
#
# Builds the commit that is checked out, runs what asks about the requirement (or shows the
# finding), and ends with 0 good, 1 bad, 125 this commit cannot be judged: it does not build,
# it does not start, a run was lost or is unknown.  What no commit can answer (a name that
# nobody knows, a missing file, Ctrl-C, a bug of the harness) ends with 255, at which git
# stops the bisection.  Options: `vfio-multifd bisect --help`.
#
# Known deviations: a violation that harness/check/known_deviations.toml describes for that version
# of QEMU says nothing about a requirement (125 if nothing else was seen), so that an old
# trouble does not hide the new one.  To bisect such a trouble give its name, as
# `vfio-multifd repro` tells it.
set -u

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if ! "$here/.venv/bin/vfio-multifd" --version >/dev/null 2>&1; then
    "$here/ci/setup.sh" venv || exit 255
fi
"$here/.venv/bin/vfio-multifd" bisect "$@"
status=$?
case $status in
    0 | 1 | 125) exit "$status" ;;
    *) exit 255 ;;
esac
