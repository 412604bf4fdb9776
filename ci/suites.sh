#!/usr/bin/env bash
# Run suites against a QEMU, and leave what a CI publishes: ci/suites.sh [OPTION]...
#
#   --qemu WHAT       source QEMU, and the destination's (default: debian-13): a build of
#                     `vfio-multifd qemu list`, by its name; a binary; a QEMU build
#                     tree; a tar file of one, as an earlier job leaves it
#   --qemu-dst WHAT   destination QEMU, where it is another one
#   --suites LIST     any of main, functional, unit, rig, or scenario files (*.json), with
#                     spaces between (default: main)
#   --results DIR     where the results go (default: results); what is in it is removed
#   --limit SIZE      of all run directories together, in MiB (default: 200)
#
# In DIR: junit-SUITE.xml and report-SUITE.html for each suite (a test suite has a report only
# of what failed); runs/ with the run directories of what was not valid; suites.log.  Paths
# that are given are of the folder that this is called in.
#
# Exit status: the worst of the suites': 0 valid, 1 violated or failed, 2 unknown, 3 the
# harness or a machine was lost (only 3 is worth another try), 4 usage: what was asked for
# cannot be done.
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
        *) usage "$1: there are --qemu, --qemu-dst, --suites, --results and --limit" ;;
    esac
    shift 2
done
for suite in $suites; do
    case $suite in
        main | functional | unit | rig) ;;
        *.json)
            [ -f "$suite" ] || usage "--suites: there is no scenario $suite in $called_in"
            ;;
        *) usage "--suites: there is no $suite: there are main, functional, unit, rig and *.json" ;;
    esac
done
[ -n "${suites// /}" ] || usage "--suites: none is given"
[[ $limit =~ ^[0-9]+$ ]] || usage "--limit: $limit is no number of MiB"

cd -- "$harness"
case $results in /*) ;; *) results=$called_in/$results ;; esac
# Only what an earlier call left is removed, never a folder of somebody else's.
if [ -e "$results" ] && [ -n "$(ls -A -- "$results")" ] && [ ! -e "$results/suites.log" ]; then
    usage "--results: $results is there and is none of mine: give another, or remove it"
fi
rm -rf -- "$results"
mkdir -p -- "$results/runs" || usage "--results: $results cannot be made"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set_up() { # takes no time, and no network, where it is done
    command -v make >/dev/null || ci/apt-install.sh make || exit 3
    make -s .venv/set-up || exit 3
}

# located WHAT OPTION: what the harness takes for it, in $found.
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
    [ -e "$found" ] || usage "$option: $found is not there"
    case $found in
        *.tar | *.tar.*)
            folder=$(mktemp -d -p "$work")
            tar -C "$folder" -xf "$found" || usage "$option: $found cannot be unpacked"
            # The one that is least deep: a tree may have copies.
            found=$(find "$folder" -name qemu-system-x86_64 -type f -printf '%d %h\n' | sort -n | sed -n '1s/^[0-9]* //p')
            [ -n "$found" ] || usage "$option: there is no qemu-system-x86_64 in $what"
            ;;
    esac
    # Some stores of artifacts forget which files can be executed.
    binary=$found
    [ ! -d "$found" ] || binary=$found/qemu-system-x86_64
    [ ! -f "$binary" ] || [ -x "$binary" ] || chmod u+x "$binary" ||
        usage "$option: $binary cannot be made executable"
}

located "$qemu" --qemu
qemus=(--qemu "$found")
if [ -n "$qemu_dst" ]; then
    located "$qemu_dst" --qemu-dst
    qemus+=(--qemu-dst "$found")
fi
set_up # what was given can be used: a mistake does not take the time of a set-up

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
        *) status=3 ;; # interrupted, no test collected, an error of pytest
    esac
    if [ -d "$runs" ] && [ -n "$(find "$runs" -name manifest.json -print -quit)" ]; then
        .venv/bin/vfio-multifd recheck "$runs" \
            --report "$results/report-$suite.html" >/dev/null || true # the tests decide
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
