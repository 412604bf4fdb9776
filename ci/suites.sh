#!/usr/bin/env bash
# Run suites against a QEMU and write the results for CI: ci/suites.sh [OPTION]...
#
#   --qemu WHAT       source and destination QEMU (default: debian-13): the name of a build of
#                     `vfio-multifd qemu list`, a binary, a QEMU build tree, or a tar
#                     file of a build tree
#   --qemu-dst WHAT   destination QEMU, if it is another one
#   --suites LIST     main, functional, unit, rig, or scenario files (*.json), separated by
#                     spaces (default: main)
#   --results DIR     folder of the results (default: results); earlier results are removed
#   --limit SIZE      limit of all run directories together, in MiB (default: 200)
#
# DIR gets junit-SUITE.xml and report-SUITE.html for each suite (for a test suite, the report has
# the failed runs only), runs/ with the run directories that were not valid, and suites.log.
# Relative paths are relative to the current folder.
#
# Exit status: the worst of all suites: 0 valid, 1 violated or failed, 2 unknown, 3 the harness or
# a machine failed (only 3 is worth another try), 4 usage.
set -eu

called_in=$PWD
harness=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    echo "suites: $*" >&2
    exit 4
}

qemu=debian-13 qemu_dst='' suites=main results=results limit=200
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage "$1: a value is missing"
    case $1 in
        --qemu) qemu=$2 ;;
        --qemu-dst) qemu_dst=$2 ;;
        --suites) suites=$2 ;;
        --results) results=$2 ;;
        --limit) limit=$2 ;;
        *) usage "$1: unknown option (choose from --qemu, --qemu-dst, --suites, --results, --limit)" ;;
    esac
    shift 2
done
for suite in $suites; do
    case $suite in
        main | functional | unit | rig) ;;
        *.json)
            [ -f "$suite" ] || usage "--suites: no scenario $suite in $called_in"
            ;;
        *) usage "--suites: no suite $suite (choose from main, functional, unit, rig, *.json)" ;;
    esac
done
[ -n "${suites// /}" ] || usage "--suites: the list is empty"
[[ $limit =~ ^[0-9]+$ ]] || usage "--limit: $limit is not a number of MiB"

cd -- "$harness"
case $results in /*) ;; *) results=$called_in/$results ;; esac
# Remove only the results of an earlier call.
if [ -e "$results" ] && [ -n "$(ls -A -- "$results")" ] && [ ! -e "$results/suites.log" ]; then
    usage "--results: $results exists and has no results of ci/suites.sh: choose another folder"
fi
rm -rf -- "$results"
mkdir -p -- "$results/runs" || usage "--results: cannot create $results"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set_up() { # takes no time and no network if nothing is missing
    command -v make >/dev/null || ci/apt-install.sh make || exit 3
    make -s .venv/set-up || exit 3
}

# located WHAT OPTION: set $found to what the harness accepts.
located() {
    local what=$1 option=$2 folder binary
    found=$what
    if [[ $what != */* && ! -e $called_in/$what ]]; then
        command -v "$what" >/dev/null && return
        set_up
        .venv/bin/vfio-multifd qemu fetch "$what" >/dev/null || exit
        return
    fi
    case $what in /*) ;; *) found=$called_in/$what ;; esac
    [ -e "$found" ] || usage "$option: $found does not exist"
    case $found in
        *.tar | *.tar.*)
            folder=$(mktemp -d -p "$work")
            tar -C "$folder" -xf "$found" || usage "$option: cannot unpack $found"
            # The uppermost one: a tree may have copies.
            found=$(find "$folder" -name qemu-system-x86_64 -type f -printf '%d %h\n' | sort -n | sed -n '1s/^[0-9]* //p')
            [ -n "$found" ] || usage "$option: no qemu-system-x86_64 in $what"
            ;;
    esac
    # Some artifact stores lose the executable bit.
    binary=$found
    [ ! -d "$found" ] || binary=$found/qemu-system-x86_64
    [ ! -f "$binary" ] || [ -x "$binary" ] || chmod u+x "$binary" ||
        usage "$option: cannot make $binary executable"
}

located "$qemu" --qemu
qemus=(--qemu "$found")
if [ -n "$qemu_dst" ]; then
    located "$qemu_dst" --qemu-dst
    qemus+=(--qemu-dst "$found")
fi
set_up # after the options are checked: a usage error should not take the time of a set-up

run_scenarios() { # SUITE [SCENARIO]
    local suite=$1
    shift
    "$harness/.venv/bin/vfio-multifd" run "${qemus[@]}" "$@" --remove-valid \
        --runs "$results/runs/$suite" --report "$results/junit-$suite.xml" \
        --report "$results/report-$suite.html" --report "$results/report-$suite.json"
}

run_tests() { # SUITE [PYTEST OPTION]...
    local suite=$1 status=0 runs=$results/runs/$1
    shift
    .venv/bin/python -m pytest "tests/$suite" "$@" "${qemus[@]}" --runs "$runs" \
        --junit-xml "$results/junit-$suite.xml" || status=$?
    case $status in
        0 | 1) ;;
        *) status=3 ;; # interrupted, no test collected, or a pytest error
    esac
    if [ -d "$runs" ] && [ -n "$(find "$runs" -name manifest.json -print -quit)" ]; then
        .venv/bin/vfio-multifd recheck "$runs" \
            --report "$results/report-$suite.html" >/dev/null || true # the tests determine the status
    fi
    return "$status"
}

run_suite() {
    case $1 in
        main) run_scenarios main ;;
        *.json) (cd -- "$called_in" && run_scenarios "$(basename -- "$1" .json)" "$1") ;;
        rig) images/rig/build.sh && run_tests rig ;;
        *) run_tests "$1" --numprocesses auto --maxprocesses 8 ;;
    esac
}

worst=0
: >"$results/suites.log"
for suite in $suites; do
    echo "suites: $suite"
    status=0
    run_suite "$suite" || status=$?
    case $status in
        0) words=valid ;;
        1) words="violated or failed" ;;
        2) words=unknown ;;
        4) words="not run: usage" ;;
        129 | 130 | 143) exit "$status" ;;
        *) status=3 words=lost ;;
    esac
    echo "suites: $suite: $words" | tee -a "$results/suites.log"
    # From bad to worse: unknown, violated, lost, usage.
    case $worst$status in 0? | 2[134] | 1[34] | 34) worst=$status ;; esac
done
.venv/bin/python ci/limit_runs.py "$results/runs" "$limit" || worst=3
exit "$worst"
