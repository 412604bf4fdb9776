#!/usr/bin/env bash
# For `git bisect run` in a QEMU tree:
#
#     cd qemu; git bisect start BAD GOOD
#     git bisect run /path/to/this/ci/bisect.sh ORD-1 [OPTION]...
#
# Builds the current commit, runs the scenarios for the requirement or the finding, and exits with
# 0 good, 1 bad, or 125 if this commit cannot be judged: it does not build or start, or a run is
# lost or unknown.  An error that no commit can fix (an unknown name, a missing file, Ctrl-C, a bug
# of the harness) exits with 255, which stops the bisection.  Options: `vfio-multifd bisect --help`.
#
# Known deviations: a violation that harness/check/known_deviations.toml describes for that version
# of QEMU is ignored (125 if nothing else was seen), so that an old bug does not hide a new one.  To
# bisect a known deviation, give its name, which `vfio-multifd repro` lists.
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
