#!/usr/bin/env bash
# Install what is missing, on a bare Debian 12 or on any other machine:
#
#     ci/setup.sh [venv] [qemu] [qemus] [tools]       default: venv qemu
#
#   venv   .venv with the project (editable) and its tools, versions of ci/constraints.txt;
#          harness/ compiled, also where PYTHONDONTWRITEBYTECODE is set
#   qemu   a QEMU of at least 10.0: $QEMU and $QEMU_DST, or $QEMU_TEST_QEMU_BINARY (a binary,
#          its folder or build tree, or the name of a build that can be fetched), else the
#          one on PATH, else the build debian-13.  A named build is fetched if necessary
#   qemus  builds of two versions, for the tests that migrate between them; if they cannot be
#          fetched, this prints a message and those tests are skipped
#   tools  tools of the tests: git, and prove (of perl); if they cannot be installed, this
#          prints a message and those tests are skipped
#
# Root is needed only to install packages.  Prints one line for each step that does something;
# the output of all commands goes to .cache/setup.log.  Exit status 3: something is missing that
# cannot be installed; the last line names it.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
log=.cache/setup.log
oldest_python=3.11
oldest_qemu=10
fetched=(debian-13 debian-13-backports) # of two versions; the first is the default
cache=.cache/qemu

step() { echo "set-up: $*"; }

# missing LINE...: print what is missing and exit.
missing() {
    echo "set-up: missing: $*" >&2
    exit 3
}

# logged COMMAND...: run COMMAND with its output in the log; if it fails, print the end of the log.
# $reason: what our own scripts report as missing (not printed).
logged() {
    local status=0 start
    reason=
    printf '\n$ %s\n' "$*" >>"$log"
    start=$(($(wc -c <"$log") + 1))
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    [ "$status" -ne 0 ] || return 0
    reason=$(tail -c "+$start" "$log" | sed -n 's/^set-up: missing: //p' | tail -n 1)
    if tail -c "+$start" "$log" | grep -v '^set-up: missing: ' | tail -n 15 | grep . >&2; then
        echo "set-up: the complete output is in $PWD/$log" >&2
    fi
    return "$status"
}

is_new_enough() { # PYTHON
    "$1" -c "import sys; sys.exit(sys.version_info < (${oldest_python/./, }))" 2>>"$log"
}

# The first Python that is new enough: $PYTHON, or one on PATH.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# A virtual environment that works and belongs to this folder: not truncated, not copied.
has_venv() {
    local script_python
    [ -x .venv/bin/python ] && is_new_enough .venv/bin/python || return 1
    .venv/bin/python -c 'import pip' 2>>"$log" || return 1
    script_python=$(grep -om1 '/.*/bin/python[0-9.]*' .venv/bin/pip) || return 1
    [ "${script_python%/*}" -ef .venv/bin ]
}

make_venv() {
    local python version
    if ! python=$(find_python); then
        [ -z "${PYTHON:-}" ] || missing "Python $oldest_python or newer: PYTHON=$PYTHON is not"
        if command -v python3 >/dev/null; then
            missing "Python $oldest_python or newer: this is $(python3 --version 2>&1); set PYTHON=/path/to/python3.11"
        fi
        step "installing python3-venv"
        logged ci/apt-install.sh python3-venv || missing "$reason"
        python=$(find_python) || missing "Python $oldest_python or newer: Debian 12 and later have it"
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>>"$log"; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        step "installing python$version-venv"
        logged ci/apt-install.sh "python$version-venv" || missing "$reason"
    fi
    step "virtual environment"
    logged "$python" -m venv --clear .venv ||
        missing "a virtual environment: $python -m venv --clear $PWD/.venv"
}

set_up_venv() {
    has_venv || make_venv
    step "Python packages"
    logged .venv/bin/python -m pip install --disable-pip-version-check --no-input \
        --constraint ci/constraints.txt --editable '.[test,lint,avocado]' ||
        missing "Python packages (no network?); in $PWD: .venv/bin/python -m pip install --constraint ci/constraints.txt --editable '.[test,lint,avocado]'"
}

# qemu_status BINARY: 0 new enough, 1 too old, 2 not a QEMU that runs here.
qemu_status() {
    local major
    major=$("$1" --version 2>>"$log" | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p')
    [ -n "$major" ] || return 2
    [ "$major" -ge "$oldest_qemu" ]
}

fetch() { # NAME
    [ ! -e "$cache/$1/manifest.json" ] || return 0
    step "QEMU build $1"
    logged harness/vm/fetch.sh "$1" "$cache"
}

# A QEMU given by the user, in the forms that harness/vm/builds.py accepts.
check_given() {
    local given=$1 status=0
    if [[ $given =~ ^debian-[0-9a-z-]+$ ]]; then
        fetch "$given" || missing "the QEMU build $given: ${reason:-fetch failed}"
        return
    fi
    if [ -d "$given" ]; then
        [ -e "$given/qemu-system-x86_64" ] || given=$given/build
        given=$given/qemu-system-x86_64
    fi
    qemu_status "$given" || status=$?
    [ "$status" -ne 2 ] || missing "a QEMU that runs: $given does not"
    [ "$status" -ne 1 ] || missing "a QEMU of at least $oldest_qemu.0: $given is older"
}

set_up_qemu() {
    local path given=${QEMU:-${QEMU_TEST_QEMU_BINARY:-}}
    [ -z "${QEMU_DST:-}" ] || check_given "$QEMU_DST"
    if [ -n "$given" ]; then
        check_given "$given"
        return
    fi
    path=$(command -v qemu-system-x86_64) && qemu_status "$path" && return
    qemu_status "$cache/${fetched[0]}/qemu-system-x86_64" && return
    fetch "${fetched[0]}" ||
        missing "a QEMU of at least $oldest_qemu.0: set QEMU=/path/to/qemu-system-x86_64, or fetch one: ${reason:-harness/vm/fetch.sh ${fetched[0]} $cache}"
}

set_up_qemus() {
    local name
    for name in "${fetched[@]}"; do
        fetch "$name" || step "no QEMU build $name${reason:+: $reason}; tests of two versions may be skipped"
    done
}

set_up_tools() {
    if command -v git >/dev/null && command -v prove >/dev/null; then return; fi
    step "installing git and perl, for tests"
    logged ci/apt-install.sh git perl || step "no git or prove: $reason; their tests are skipped"
}

# Where Python may not write .pyc files, a command of the harness would spend most of its start
# on compiling them.  Takes 0.05 s if all are new enough.
compile_harness() {
    [ ! -x .venv/bin/python ] || logged .venv/bin/python -m compileall -q harness || true
}

[ $# -gt 0 ] || set -- venv qemu
mkdir -p .cache
if [ "$(wc -c 2>/dev/null <"$log" || echo 0)" -gt 1000000 ]; then rm -f "$log"; fi
exec 9>.cache/setup.lock
flock 9 # two at once would write to the same .venv
echo "== $(date '+%F %T') set-up of: $*" >>"$log"
for part; do
    case $part in
        venv) set_up_venv ;;
        qemu) set_up_qemu ;;
        qemus) set_up_qemus ;;
        tools) set_up_tools ;;
        *) missing "a part called $part (choose from venv, qemu, qemus, tools)" ;;
    esac
done
compile_harness
