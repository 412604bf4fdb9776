#!/usr/bin/env bash
# Run scenarios, or the main job, as one TAP stream on standard output:
# ci/meson/tap.sh [SCENARIO.json]...
#
# Like QEMU's own functional tests, it takes the QEMU to test from QEMU_TEST_QEMU_BINARY, writes
# everything except TAP to standard error, and keeps the run directories of valid runs if
# QEMU_TEST_KEEP_SCRATCH is set.  Run directories are in vfio-multifd-runs in the current folder (for
# meson, the build tree).
#
#     valid               ok
#     violated, unknown   not ok
#     known deviation     not ok # TODO
#     not applicable      ok # SKIP
#     lost                not ok, and Bail out!
#
# Exit status: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine failed, 4 usage.
set -eu

harness=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd)
exec 3>&1 1>&2

bail_out() { # STATUS WORDS
    echo "Bail out! ${*:2}" >&3
    exit "$1"
}

program=$harness/.venv/bin/vfio-multifd
[ -x "$program" ] || bail_out 3 "the harness is not set up: run make -C $harness setup"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
options=(--no-progress --runs vfio-multifd-runs --report "$work/report.tap")
[ -n "${QEMU_TEST_KEEP_SCRATCH:-}" ] || options+=(--remove-valid)

status=0
"$program" run "${options[@]}" "$@" 2>"$work/stderr" || status=$?
cat -- "$work/stderr" >&2
[ "$status" = 4 ] && bad=4 || bad=3
[ -s "$work/report.tap" ] || bail_out "$bad" "$(tail -n 1 "$work/stderr")"
cat -- "$work/report.tap" >&3
case $status in 0 | 1 | 2) exit "$status" ;; esac
bail_out "$bad" "some runs were lost: see the points of harness"
